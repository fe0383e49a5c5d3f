//! The first bytes of a connection. A client of HTTP/1 gets an answer that it can read: it would not understand HTTP/2.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

use crate::limits::FLUSH;

/// What the connection of every HTTP/2 client begins with, and no request of HTTP/1 does.
const PREFACE: &[u8] = b"PRI *";
/// Bytes of a refused request that are read, since the answer could be lost with a connection that has unread bytes.
const REFUSED_BYTES: u64 = 64 * 1024;

const REFUSAL: &str =
    "This is the port of gRPC, which needs HTTP/2. HTTP/1 has another port: 8080, unless --http-port changes it.\n";

/// Reads until it is clear whether a client speaks HTTP/1, and returns what it has read. Refuses such a client.
///
/// # Errors
/// The connection has failed, or been refused.
pub async fn read<T: AsyncRead + AsyncWrite + Unpin>(transport: &mut T) -> io::Result<BytesMut> {
    let mut opening = BytesMut::new();
    while opening.len() < PREFACE.len() && PREFACE.starts_with(&opening) {
        if transport.read_buf(&mut opening).await? == 0 {
            return Ok(opening);
        }
    }
    if opening.starts_with(PREFACE) || !opening[0].is_ascii_uppercase() {
        return Ok(opening);
    }
    let length = REFUSAL.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{REFUSAL}"
    );
    transport.write_all(answer.as_bytes()).await?;
    transport.shutdown().await?;
    timeout(FLUSH, copy(&mut transport.take(REFUSED_BYTES), &mut sink())).await.ok();
    Err(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{duplex, split};
    use tokio::runtime;

    use super::*;

    /// Returns what has been read of a client that sends its bytes in parts of this size, and the answer to it.
    fn opened(sent: &[u8], size: usize) -> (io::Result<BytesMut>, Vec<u8>) {
        let (client, mut server) = duplex(size);
        let (mut answers, mut requests) = split(client);
        let mut answer = Vec::new();
        let serve = async {
            let opening = read(&mut server).await;
            drop(server);
            opening
        };
        let send = async {
            requests.write_all(sent).await.ok();
            requests.shutdown().await.ok();
        };
        let work = async { tokio::join!(serve, send, answers.read_to_end(&mut answer)).0 };
        let opening = runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work);
        (opening, answer)
    }

    #[test]
    fn a_request_of_http_1_is_answered_however_its_bytes_come() {
        for request in ["GET / HTTP/1.1\r\n\r\n", "PUT / HTTP/1.1\r\n\r\n", "PRIOR / HTTP/1.1\r\n\r\n"] {
            for size in [1, 3, 1000] {
                let (opening, answer) = opened(request.as_bytes(), size);
                assert!(opening.is_err());
                let answer = String::from_utf8(answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with(REFUSAL), "{request} {size}: {answer}");
            }
        }
    }

    #[test]
    fn other_bytes_are_left_to_http_2() {
        for sent in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"\x16\x03\x01", b"PR", b""] {
            for size in [1, 3, 1000] {
                let (opening, answer) = opened(sent, size);
                let opening = opening.unwrap();
                assert!(sent.starts_with(&opening) && opening.len() >= sent.len().min(PREFACE.len()).min(1));
                assert!(answer.is_empty());
            }
        }
    }
}
