//! The few messages that are answered without Python. A reader returns None for whatever is not plain: fields that it does
//! not know, text that is not UTF-8, malformed bytes. Python then says what is wrong, or answers.

pub mod classify;
pub mod infer;
pub mod wire;
