//! The queue between the transport's threads and Python's event loop. Events reach Python in batches, with one wake-up for
//! all that are pending; a channel for each call carries the actions of its handler back.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use pyo3::{Py, PyAny};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::codec::Message;
use crate::compression::Encoding;
use crate::method::Method;
use crate::status::Status;

/// An action of a handler.
pub enum Action {
    /// Sends the headers.
    Headers(HeaderMap, Encoding),
    /// Sends a message with its prefix, and reports when HTTP/2 has accepted it.
    Message(Bytes),
    /// Sends the only message, and ends the call.
    Answer(Bytes, Status),
    /// Reads the next message of the request.
    Read,
    /// Ends the call.
    Finish(Status),
}

/// A call for a handler in Python.
pub struct NewCall {
    pub id: u64,
    pub method: Arc<Method>,
    pub headers: HeaderMap,
    pub peer: Arc<str>,
    pub deadline: Option<Instant>,
    /// The first message, if it came with the headers.
    pub message: Option<Message>,
    pub actions: UnboundedSender<Action>,
}

/// An event for Python's event loop.
pub enum Event {
    Call(NewCall),
    /// The next message of the request; None: its end.
    Message(u64, Option<Message>),
    /// HTTP/2 has accepted the message that was sent last.
    Sent(u64),
    /// The client has cancelled the call or gone, the deadline has passed, or the server closes.
    Cancelled(u64),
    /// Answers wait for Python, which calls this.
    Answered(Arc<Py<PyAny>>),
    /// A TLS handshake needs the current certificates.
    Handshake(oneshot::Sender<()>),
    /// All connections have ended.
    Stopped,
    /// A panic, by its place in the source, has ended a call or a connection.
    Panicked(String),
}

struct Queue {
    events: VecDeque<Event>,
    /// Whether Python has been woken and has not emptied the queue since.
    woken: bool,
}

/// The queue of events, and the socket that wakes Python.
pub struct Bridge {
    queue: Mutex<Queue>,
    wake: UnixStream,
    woken: UnixStream,
}

impl Bridge {
    pub fn new() -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok(Self { queue: Mutex::new(Queue { events: VecDeque::new(), woken: false }), wake, woken })
    }

    /// The descriptor that is readable while there are events.
    pub fn descriptor(&self) -> RawFd {
        self.woken.as_raw_fd()
    }

    pub fn push(&self, event: Event) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.events.push_back(event);
        if !std::mem::replace(&mut queue.woken, true) {
            drop(queue);
            // One byte at a time is in the socket, so there is room for it.
            (&self.wake).write_all(&[1]).ok();
        }
    }

    /// Takes the next events, up to `calls` new calls. The descriptor stays readable while some are left.
    pub fn take(&self, calls: usize) -> Vec<Event> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::with_capacity(queue.events.len());
        let mut new = 0;
        while new < calls {
            let Some(event) = queue.events.pop_front() else { break };
            new += usize::from(matches!(event, Event::Call(_)));
            taken.push(event);
        }
        if queue.events.is_empty() && queue.woken {
            queue.woken = false;
            let mut byte = [0];
            while matches!((&self.woken).read(&mut byte), Err(error) if error.kind() == ErrorKind::Interrupted) {}
        }
        taken
    }
}
