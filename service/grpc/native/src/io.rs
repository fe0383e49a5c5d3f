//! Watches the bytes of a connection before HTTP/2 parses them: notes when the client was last active, bounds what is read
//! in one turn, detects floods of pings, and rewrites authorities.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use crate::authority::Authorities;
use crate::limits::{READ_AHEAD_BYTES, TURN_READ_BYTES};

const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Flags of HEADERS frames that contain more than the header block. gRPC's C core sends none of them.
const PADDED_OR_PRIORITY: u8 = 0x28;
/// Number of successive pings that may come too early.
const EARLY_PINGS: u32 = 2;

/// GOAWAY with ENHANCE_YOUR_CALM and the text that makes gRPC clients ping less often.
const TOO_MANY_PINGS: &[u8] = b"\x00\x00\x16\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0btoo_many_pings";

/// When a client was last active, and how much of what it sends has been read in this turn.
pub struct Activity {
    start: Instant,
    read: AtomicU64,
    turn: AtomicUsize,
}

impl Activity {
    pub fn last_read(&self) -> Instant {
        self.start + Duration::from_millis(self.read.load(Ordering::Relaxed))
    }

    /// Begins a turn: until the next one, a bounded number of bytes are read.
    pub fn begin_turn(&self) {
        self.turn.store(0, Ordering::Relaxed);
    }

    fn note(&self, now: Instant, bytes: usize) {
        self.turn.fetch_add(bytes, Ordering::Relaxed);
        let passed = now.duration_since(self.start).as_millis();
        self.read.store(u64::try_from(passed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A connection whose frames are watched.
pub struct Watched<T> {
    transport: T,
    /// Bytes that have been read ahead, since HTTP/2 asks for only a few kilobytes at a time.
    ahead: BytesMut,
    /// Whether the last read was as long as it could be, so that there is probably more.
    more: bool,
    activity: Arc<Activity>,
    frames: Frames,
}

impl<T> Watched<T> {
    /// `ahead` is what has been read of the connection.
    pub fn new(transport: T, ahead: BytesMut, ping_interval: Duration) -> (Self, Arc<Activity>) {
        let activity = Arc::new(Activity { start: Instant::now(), read: AtomicU64::new(0), turn: AtomicUsize::new(0) });
        let frames = Frames::new(ping_interval);
        (Self { transport, ahead, more: false, activity: Arc::clone(&activity), frames }, activity)
    }
}

impl<T: AsyncRead + Unpin> Watched<T> {
    fn poll_fill(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() && !self.more {
            ready!(Pin::new(&mut self.transport).poll_read(context, buffer))?;
            self.more = buffer.remaining() == 0;
            return Poll::Ready(Ok(()));
        }
        if self.ahead.is_empty() {
            let mut ahead = BytesMut::with_capacity(READ_AHEAD_BYTES);
            self.more = false;
            ready!(pin!(self.transport.read_buf(&mut ahead)).poll(context))?;
            self.more = ahead.len() == ahead.capacity();
            self.ahead = ahead;
        }
        let part = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..part]);
        self.ahead.advance(part);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new(); // an idle connection needs no memory for it
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.activity.turn.load(Ordering::Relaxed) >= TURN_READ_BYTES {
            let _ = pin!(yield_now()).poll(context); // the task goes on after all others
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(self.poll_fill(context, buffer))?;
        let now = Instant::now();
        self.activity.note(now, buffer.filled().len() - before);
        if self.frames.read(&mut buffer.filled_mut()[before..], now) {
            return Poll::Ready(Ok(()));
        }
        let said = Pin::new(&mut self.transport).poll_write(context, TOO_MANY_PINGS);
        if matches!(said, Poll::Ready(Ok(_))) {
            let _ = Pin::new(&mut self.transport).poll_shutdown(context);
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(context)
    }
}

/// Follows the frames of one direction.
pub struct Frames {
    /// Bytes to skip before the next frame's header.
    skip: usize,
    /// Whether these bytes are part of a header block whose authority is rewritten.
    block: bool,
    /// Whether the next frame continues that block.
    continues: bool,
    authorities: Authorities,
    header: [u8; HEADER_BYTES],
    filled: usize,
    interval: Duration,
    pinged: Option<Instant>,
    early: u32,
}

impl Frames {
    pub fn new(interval: Duration) -> Self {
        Self {
            skip: PREFACE_BYTES,
            block: false,
            continues: false,
            authorities: Authorities::new(),
            header: [0; HEADER_BYTES],
            filled: 0,
            interval,
            pinged: None,
            early: 0,
        }
    }

    /// Reads bytes. Returns false once the client floods with pings.
    pub fn read(&mut self, mut bytes: &mut [u8], now: Instant) -> bool {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let (skipped, rest) = bytes.split_at_mut(self.skip.min(bytes.len()));
                self.skip -= skipped.len();
                if self.block {
                    self.authorities.read(skipped);
                }
                bytes = rest;
                continue;
            }
            let (taken, rest) = bytes.split_at_mut((HEADER_BYTES - self.filled).min(bytes.len()));
            self.header[self.filled..self.filled + taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            bytes = rest;
            if self.filled == HEADER_BYTES {
                self.filled = 0;
                let [high, middle, low, kind, flags, ..] = self.header;
                self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.frame(kind, flags, now);
            }
        }
        self.early <= EARLY_PINGS
    }

    fn frame(&mut self, kind: u8, flags: u8, now: Instant) {
        self.block = match kind {
            HEADERS => flags & PADDED_OR_PRIORITY == 0,
            CONTINUATION => self.continues,
            _ => false,
        };
        self.continues = self.block && flags & END_HEADERS == 0;
        if kind == HEADERS {
            self.authorities.begin();
        }
        match kind {
            DATA | HEADERS | WINDOW_UPDATE => (self.pinged, self.early) = (None, 0),
            PING if flags & ACK == 0 => {
                let early = self.pinged.is_some_and(|pinged| now < pinged + self.interval);
                self.early += u32::from(early);
                self.pinged = Some(now);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{join, sink};
    use tokio::runtime;

    use super::*;

    /// Reads in parts of so many bytes, turn after turn. Returns what each turn has read.
    fn read_in_turns(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
        let (mut watched, activity) = Watched::new(join(bytes, sink()), BytesMut::new(), Duration::ZERO);
        let (mut turns, mut part) = (Vec::new(), vec![0; size]);
        let read = poll_fn(|context| {
            activity.begin_turn();
            let mut turn = Vec::new();
            loop {
                let mut buffer = ReadBuf::new(&mut part);
                let polled = Pin::new(&mut watched).poll_read(context, &mut buffer);
                turn.extend_from_slice(buffer.filled());
                if polled.is_pending() || buffer.filled().is_empty() {
                    turns.push(std::mem::take(&mut turn));
                    return polled.map(Result::unwrap);
                }
            }
        });
        runtime::Builder::new_current_thread().build().unwrap().block_on(read);
        turns
    }

    #[test]
    fn a_turn_reads_a_bounded_part_and_the_next_one_goes_on() {
        let bytes = [vec![0; PREFACE_BYTES], frame(DATA, 3 * TURN_READ_BYTES)].concat();
        for size in [1000, READ_AHEAD_BYTES, 2 * READ_AHEAD_BYTES] {
            let turns = read_in_turns(&bytes, size);
            assert!(turns.iter().all(|turn| turn.len() < TURN_READ_BYTES + size), "{size}");
            assert_eq!(turns.concat(), bytes, "{size}");
        }
    }

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut frame = (length as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, 0, 0, 0, 0, 0]);
        frame.resize(HEADER_BYTES + length, 0);
        frame
    }

    fn after_preface() -> Frames {
        let mut frames = Frames::new(Duration::from_secs(10));
        assert!(frames.read(&mut [0; PREFACE_BYTES], Instant::now()));
        frames
    }

    #[test]
    fn pings_without_end_are_found_however_their_bytes_come() {
        let pings = frame(PING, 8).repeat(4);
        for size in 1..pings.len() {
            let mut frames = after_preface();
            let now = Instant::now();
            assert!(pings.clone().chunks_mut(size).any(|chunk| !frames.read(chunk, now)), "{size}");
        }
    }

    #[test]
    fn so_many_pings_may_come_too_early_and_the_next_is_a_flood() {
        let mut frames = after_preface();
        let now = Instant::now();
        assert!((0..=EARLY_PINGS).all(|_| frames.read(&mut frame(PING, 8), now)));
        assert!(!frames.read(&mut frame(PING, 8), now));
    }

    #[test]
    fn answers_to_the_server_s_own_pings_are_no_flood() {
        let mut frames = after_preface();
        let mut answer = frame(PING, 8);
        answer[4] = ACK;
        assert!(frames.read(&mut answer.repeat(10), Instant::now()));
    }

    #[test]
    fn pings_between_calls_are_no_flood() {
        let mut frames = after_preface();
        let call_and_ping = [frame(HEADERS, 40), frame(DATA, 300), frame(PING, 8)].concat();
        assert!(frames.read(&mut call_and_ping.repeat(10), Instant::now()));
    }

    #[test]
    fn pings_at_their_interval_are_no_flood() {
        let mut frames = after_preface();
        let start = Instant::now();
        assert!((0..10).all(|turn| frames.read(&mut frame(PING, 8), start + Duration::from_secs(11 * turn))));
    }
}
