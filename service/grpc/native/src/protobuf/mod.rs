//! The few messages that are answered without Python. A reader returns None for a message that is not plain: one with
//! unknown fields, text that is not UTF-8, or malformed bytes. Python then says what is wrong, or answers.

pub mod classify;
pub mod infer;
pub mod wire;
