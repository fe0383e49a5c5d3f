//! One call: from its headers to its status.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method as Verb, Request, StatusCode};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep_until;

use crate::bridge::{Action, Event, NewCall};
use crate::codec::{Messages, ReadError};
use crate::compression::Encoding;
use crate::deadline::parse_timeout;
use crate::limits::MESSAGE;
use crate::method::Method;
use crate::response::{Gone, ResponseWriter};
use crate::server::{Shared, Stage};
use crate::status::{Code, Status};

/// Answers one call. A panic ends this call with INTERNAL and no other.
pub async fn answer(shared: Arc<Shared>, peer: Arc<str>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let mut writer = ResponseWriter::new(respond);
    let end = {
        let mut call = pin!(run(&shared, peer, request, &mut writer));
        poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(_) => Poll::Ready(Err(End::Status(Status::new(Code::Internal, "internal error")))),
        })
        .await
    };
    match end {
        Ok(()) | Err(End::Gone) => {}
        Err(End::Status(status)) => writer.finish(status),
        Err(End::Http(code)) => writer.refuse(code),
    }
}

/// How a call ends that no handler ended.
enum End {
    Status(Status),
    /// It is not gRPC.
    Http(StatusCode),
    Gone,
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Gone => Self::Gone,
            ReadError::Bad(status) => Self::Status(status),
        }
    }
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

async fn run(
    shared: &Arc<Shared>,
    peer: Arc<str>,
    request: Request<RecvStream>,
    writer: &mut ResponseWriter,
) -> Result<(), End> {
    let (parts, body) = request.into_parts();
    let method = find(shared, &parts)?;
    if !shared.limits.allows(&parts.headers) {
        let message = format!("the call's metadata has more than {} bytes", shared.limits.metadata_bytes);
        return Err(Status::new(Code::ResourceExhausted, message).into());
    }
    let deadline = deadline(&parts.headers)?;
    let encoding = encoding(&parts.headers)?;
    if method.is_full(shared.limits.pending_calls) {
        return Err(shared.overloaded().into());
    }
    let mut messages = Messages::new(body, encoding, shared.limits.message_bytes);
    let message = if method.request_streaming {
        None
    } else {
        Some(only_message(shared, &mut messages, deadline).await?)
    };
    hand_over(shared, method, parts.headers, peer, deadline, message, messages, writer).await
}

/// Finds the method that a request names.
fn find(shared: &Shared, parts: &Parts) -> Result<Arc<Method>, End> {
    if parts.method != Verb::POST {
        return Err(End::Http(StatusCode::METHOD_NOT_ALLOWED));
    }
    let kind = parts.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if !kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';'))) {
        return Err(End::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let unknown = || Status::new(Code::Unimplemented, "Method not found!");
    Ok(shared.methods.get(parts.uri.path()).cloned().ok_or_else(unknown)?)
}

fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Status> {
    let Some(header) = headers.get("grpc-timeout") else { return Ok(None) };
    match parse_timeout(header) {
        Some(timeout) => Ok(Instant::now().checked_add(timeout)),
        None => Err(Status::new(Code::Internal, "grpc-timeout: is not up to eight digits and a unit")),
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Status> {
    let Some(header) = headers.get("grpc-encoding") else { return Ok(Encoding::Identity) };
    let name = header.to_str().unwrap_or("");
    Encoding::from_name(name)
        .ok_or_else(|| Status::new(Code::Unimplemented, "grpc-encoding: send identity, deflate or gzip"))
}

fn late() -> End {
    Status::new(Code::DeadlineExceeded, "Deadline Exceeded").into()
}

fn stopped() -> End {
    Status::new(Code::Cancelled, "Cancelling all calls").into()
}

/// Reads the one message of a request that is no stream, and decompresses it.
async fn only_message(shared: &Shared, messages: &mut Messages, deadline: Option<Instant>) -> Result<Bytes, End> {
    let mut stage = shared.stage.subscribe();
    let message = {
        let mut next = pin!(poll_fn(|context| messages.poll_next(context)));
        match poll_once(next.as_mut()).await {
            Some(message) => message, // it came with the headers
            None => {
                let latest = Instant::now() + MESSAGE;
                let until = deadline.map_or(latest, |deadline| deadline.min(latest));
                tokio::select! {
                    message = next => message,
                    () = sleep_until(until.into()) => return Err(late()),
                    () = Stage::Closing.reached(&mut stage) => return Err(stopped()),
                }
            }
        }
    }?;
    match message {
        Some(message) => Ok(message.into_bytes()?),
        None => Err(Status::new(Code::Internal, "the request holds no message").into()),
    }
}

async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    poll_fn(|context| {
        Poll::Ready(match pin!(&mut future).poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Gives the call to its handler in Python and does what that asks for.
#[allow(clippy::too_many_arguments)]
async fn hand_over(
    shared: &Arc<Shared>,
    method: Arc<Method>,
    headers: HeaderMap,
    peer: Arc<str>,
    deadline: Option<Instant>,
    message: Option<Bytes>,
    mut messages: Messages,
    writer: &mut ResponseWriter,
) -> Result<(), End> {
    if !method.try_wait(shared.limits.pending_calls) {
        return Err(shared.overloaded().into());
    }
    let id = shared.next_call.fetch_add(1, Ordering::Relaxed);
    let (sender, mut actions) = unbounded_channel();
    let call = NewCall { id, method, headers, peer, deadline, message, actions: sender };
    shared.bridge.push(Event::Call(call));
    let end = converse(shared, id, deadline, &mut messages, &mut actions, writer).await;
    if end.is_err() {
        shared.bridge.push(Event::Cancelled(id));
    }
    end
}

/// Carries messages to and from a handler until it ends the call, or nobody waits for it any more.
async fn converse(
    shared: &Shared,
    id: u64,
    deadline: Option<Instant>,
    messages: &mut Messages,
    actions: &mut UnboundedReceiver<Action>,
    writer: &mut ResponseWriter,
) -> Result<(), End> {
    let mut stage = shared.stage.subscribe();
    let mut late_at = pin!(async {
        match deadline {
            Some(deadline) => sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    });
    let mut closing = pin!(Stage::Closing.reached(&mut stage));
    let mut wanted = false;
    loop {
        tokio::select! {
            biased;
            action = actions.recv() => match action {
                Some(Action::Finish(status)) => {
                    writer.finish(status);
                    return Ok(());
                }
                Some(Action::Message(message)) => {
                    tokio::select! {
                        ready = writer.ready() => ready?,
                        () = &mut late_at => return Err(late()),
                        () = &mut closing => return Err(stopped()),
                    }
                    writer.send_message(message)?;
                    shared.bridge.push(Event::Sent(id));
                }
                Some(Action::Answer(message, status)) => {
                    writer.send_message(message)?;
                    writer.finish(status);
                    return Ok(());
                }
                Some(Action::Headers(metadata, encoding)) => writer.send_headers(metadata, encoding)?,
                Some(Action::Read) => wanted = true,
                None => return Err(Status::new(Code::Internal, "the handler has gone").into()),
            },
            message = poll_fn(|context| messages.poll_next(context)), if wanted => {
                wanted = false;
                let message = message?.map(|message| message.into_bytes()).transpose()?;
                shared.bridge.push(Event::Message(id, message));
            }
            () = poll_fn(|context| writer.poll_gone(context)) => return Err(End::Gone),
            () = &mut late_at => return Err(late()),
            () = &mut closing => return Err(stopped()),
        }
    }
}
