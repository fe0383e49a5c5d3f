//! The few messages that are answered without Python. A reader returns None for whatever is not plain: fields that it does
//! not know, text that is not UTF-8, malformed bytes. Python then says what is wrong, or answers.

pub mod classify;
pub mod infer;
pub mod wire;

#[cfg(test)]
mod tests {
    use super::{classify, infer};

    /// Messages whose bytes are changed at random: whatever they are, a reader returns.
    #[test]
    fn damaged_messages_are_read_or_declined() {
        let messages: [&[u8]; 2] = [
            b"\x0a\x04imdb\x10\x02\x1a\x04film\x1a\x00\x20\x03\x28\x00",
            b"\x0a\x04imdb\x2a\x11\x0a\x04text\x12\x05BYTES\x1a\x02\x02\x01\x32\x07\x0a\x05label\x3a\x0c\x04\x00\x00\x00film\x00\x00\x00\x00",
        ];
        let mut state = 1_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize % below
        };
        for _ in 0..100_000 {
            let mut message = messages[random(2)].to_vec();
            for _ in 0..1 + random(3) {
                let at = random(message.len());
                message[at] = random(256) as u8;
            }
            message.truncate(random(message.len() + 1));
            let _ = (classify::read(&message, 3), infer::read(&message, 3));
        }
    }
}
