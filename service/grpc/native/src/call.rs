//! One call: from its headers to its status.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use h2::RecvStream;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method as Verb, Request, StatusCode};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::yield_now;
use tokio::time::{sleep_until, timeout};

use crate::bridge::{Action, Event, NewCall};
use crate::budget::Held;
use crate::codec::{Message, Messages, ReadError};
use crate::compression::Encoding;
use crate::deadline::parse_timeout;
use crate::fast_path::{Envelope, FastMethod, FastPath, Kind, Outcome};
use crate::limits::{MESSAGE, RESERVATION, SMALL_RESPONSE, TURN_MESSAGES};
use crate::metadata::REQUEST_ID;
use crate::method::Method;
use crate::models::Place;
use crate::panics;
use crate::response::{Gone, ResponseWriter};
use crate::shared::{Shared, Stage};
use crate::status::{Code, Status};

/// Answers one call. A panic ends this call alone, with INTERNAL.
pub async fn answer(shared: Arc<Shared>, peer: Arc<str>, request: Request<RecvStream>, mut writer: ResponseWriter) {
    let end = unless_panicked(run(&shared, peer, request, &mut writer)).await;
    match end {
        Ok(()) | Err(End::Gone) => {}
        Err(End::Status(status)) => writer.finish(status),
        Err(End::Http(code)) => writer.refuse(code),
        Err(End::Panicked) => {
            shared.bridge.push(Event::Panicked(panics::place()));
            writer.finish(Status::new(Code::Internal, "internal error"));
        }
    }
}

/// Runs the work of a call, and catches its panic.
async fn unless_panicked(work: impl Future<Output = Result<(), End>>) -> Result<(), End> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.unwrap_or(Poll::Ready(Err(End::Panicked)))
    })
    .await
}

/// Why a call ends without its handler.
#[derive(Debug)]
enum End {
    Status(Status),
    /// The request is not gRPC.
    Http(StatusCode),
    Gone,
    Panicked,
}

impl End {
    /// The code that metrics count.
    fn code(&self) -> u32 {
        match self {
            Self::Status(status) => status.code,
            Self::Gone | Self::Http(_) => Code::Cancelled as u32,
            Self::Panicked => Code::Internal as u32,
        }
    }
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
    let (mut parts, body) = request.into_parts();
    let method = find(shared, &parts)?;
    if !shared.limits.allows(&parts.headers) {
        let message = format!("metadata: is larger than the maximum of {} bytes", shared.limits.metadata_bytes);
        return Err(Status::new(Code::ResourceExhausted, message).into());
    }
    let deadline = deadline(&parts.headers)?;
    let encoding = encoding(&parts.headers)?;
    let fast = shared.fast_path.method(method.index, &parts.headers);
    if fast.is_none() && method.is_full(shared.limits.pending_calls) {
        return Err(shared.overloaded().into()); // before its body is read
    }
    let request_id = fast.and_then(|_| shared.fast_path.request_id(&parts.headers));
    if let Some(id) = &request_id {
        parts.headers.insert(REQUEST_ID, id.clone()); // for Python, if the rest of the call goes there
        writer.set_request_id(id.clone());
    }
    let mut call = Call {
        shared,
        deadline,
        request_id,
        messages: Messages::new(body, encoding, shared.limits.message_bytes, writer.holder()),
        writer,
    };
    let left = match fast {
        None => Left::Call(call.message_that_is_here().await?),
        Some(fast) if fast.kind == Kind::ClassifyStream => call.answer_stream_fast(&method, fast).await?,
        Some(fast) => call.answer_fast(&method, fast).await?,
    };
    match left {
        Left::Nothing => Ok(()),
        Left::Call(message) => call.hand_over(method, parts.headers, peer, message).await,
    }
}

/// The part of a call that the fast path leaves to the handler.
enum Left {
    Nothing,
    /// The rest of the call, with its next message if that has been read.
    Call(Option<Message>),
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
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str); // a query is a part of gRPC's path
    Ok(shared.methods.get(path).cloned().ok_or_else(unknown)?)
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

/// Polls a future once. Returns its output if it is ready.
pub async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

/// One call with valid headers.
struct Call<'a> {
    shared: &'a Arc<Shared>,
    deadline: Option<Instant>,
    request_id: Option<HeaderValue>,
    messages: Messages,
    writer: &'a mut ResponseWriter,
}

impl Call<'_> {
    /// Returns the first message if it arrived with the headers, as most do.
    async fn message_that_is_here(&mut self) -> Result<Option<Message>, End> {
        let mut next = pin!(poll_fn(|context| self.messages.poll_next(context)));
        Ok(poll_once(next.as_mut()).await.transpose()?.flatten())
    }

    /// Reads the message of a unary request; None: there is none. A large message gets a place in the queue, or is refused,
    /// as soon as its beginning has arrived.
    async fn only_message(&mut self, method: &Method, kind: Kind) -> Result<Option<(Message, Option<Place>)>, End> {
        let fast_path = &self.shared.fast_path;
        let mut incoming = Incoming { messages: &mut self.messages, fast_path, kind, place: None };
        let come = poll_once(pin!(incoming.next())).await;
        let message = match come {
            Some(message) => message,
            None => {
                let _place = method.wait_for_client().ok_or_else(|| self.shared.overloaded())?;
                let latest = Instant::now() + MESSAGE;
                let until = self.deadline.map_or(latest, |deadline| deadline.min(latest));
                while_wanted(self.shared, self.writer, Some(until), incoming.next_before_place_is_lost()).await?
            }
        };
        Ok(message?.map(|message| (message, incoming.place.take())))
    }

    /// Answers a request without Python, or leaves it to its handler.
    async fn answer_fast(&mut self, method: &Method, fast: &FastMethod) -> Result<Left, End> {
        let start = Instant::now();
        let (message, place) = match self.only_message(method, fast.kind).await {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(Left::Call(None)),
            Err(end) => {
                fast.metrics.handled(end.code(), start.elapsed());
                return Err(end);
            }
        };
        let start = Instant::now();
        match self.answer(fast.kind, &message, place).await {
            Ok(Outcome::Answered(response)) => {
                let sent = if response.len() <= SMALL_RESPONSE {
                    self.send_at_once(response)
                } else {
                    self.send(response).await
                };
                fast.metrics.handled(sent.as_ref().map_or_else(End::code, |()| Code::Ok as u32), start.elapsed());
                sent?;
                self.writer.finish(Status::ok());
            }
            Ok(Outcome::Refused(status)) => {
                fast.metrics.handled(status.code, start.elapsed());
                self.writer.finish(status);
            }
            Ok(Outcome::Declined) => return Ok(Left::Call(Some(message))),
            Err(end) => {
                fast.metrics.handled(end.code(), start.elapsed());
                return Err(end);
            }
        }
        Ok(Left::Nothing)
    }

    /// Answers the requests of a stream without Python, up to the first one that is left to its handler.
    async fn answer_stream_fast(&mut self, method: &Method, fast: &FastMethod) -> Result<Left, End> {
        let _place = method.wait_for_client().ok_or_else(|| self.shared.overloaded())?;
        let start = Instant::now();
        let end = self.answer_messages_fast(fast).await;
        match &end {
            Ok(Left::Call(_)) => {} // the handler counts the call
            Ok(Left::Nothing) => fast.metrics.handled(Code::Ok as u32, start.elapsed()),
            Err(end) => fast.metrics.handled(end.code(), start.elapsed()),
        }
        end
    }

    async fn answer_messages_fast(&mut self, method: &FastMethod) -> Result<Left, End> {
        for number in 1.. {
            let next = poll_fn(|context| self.messages.poll_next(context));
            let Some(message) = while_wanted(self.shared, self.writer, self.deadline, next).await?? else { break };
            match self.answer(method.kind, &message, None).await? {
                Outcome::Answered(response) => self.send(response).await?,
                Outcome::Refused(status) => return Err(status.into()),
                Outcome::Declined => return Ok(Left::Call(Some(message))),
            }
            if number % TURN_MESSAGES == 0 {
                yield_now().await;
            }
        }
        self.writer.finish(Status::ok());
        Ok(Left::Nothing)
    }

    /// Classifies the texts of a message while its answer is wanted. A message that arrives after the deadline is dropped.
    async fn answer(&mut self, kind: Kind, message: &Message, place: Option<Place>) -> Result<Outcome, End> {
        let fast_path = &self.shared.fast_path;
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            fast_path.arrived_late(kind, message);
            return Err(late());
        }
        let envelope = Envelope { place, request_id: self.request_id.as_ref(), deadline: self.deadline };
        let answer = fast_path.answer(kind, message, envelope);
        while_wanted(self.shared, self.writer, self.deadline, answer).await
    }

    /// Holds the bytes of a message until they have been sent.
    fn hold(&self, message: &Bytes) -> Result<Held, End> {
        self.writer.hold(message.len()).ok_or_else(|| {
            let text = "the server holds too many answers that wait for their clients, try again later";
            Status::new(Code::ResourceExhausted, text).into()
        })
    }

    /// Sends a message whatever the client's window.
    fn send_at_once(&mut self, message: Bytes) -> Result<(), End> {
        let held = self.hold(&message)?;
        Ok(self.writer.send(message, held)?)
    }

    /// Sends a message as the client's window allows. A client that does not read delays only its own call.
    async fn send(&mut self, mut message: Bytes) -> Result<(), End> {
        let mut held = self.hold(&message)?;
        loop {
            let room = self.room(message.len()).await?;
            let part = if message.len() <= SMALL_RESPONSE { message.len() } else { room.min(message.len()) };
            self.writer.send(message.split_to(part), held.split(part))?;
            if message.is_empty() {
                return Ok(());
            }
        }
    }

    /// Waits until the client's window has room for some of these bytes. Returns the number of bytes that fit.
    async fn room(&mut self, wanted: usize) -> Result<usize, End> {
        let mut room = pin!(self.writer.room(wanted));
        if let Some(room) = poll_once(room.as_mut()).await {
            return Ok(room?);
        }
        let mut stage = self.shared.stage.subscribe();
        tokio::select! {
            room = room => Ok(room?),
            () = passed(self.deadline) => Err(late()),
            () = Stage::Closing.reached(&mut stage) => Err(stopped()),
        }
    }

    /// Gives the call to its handler in Python and carries out the handler's actions.
    async fn hand_over(
        mut self,
        method: Arc<Method>,
        headers: HeaderMap,
        peer: Arc<str>,
        message: Option<Message>,
    ) -> Result<(), End> {
        let shared = self.shared;
        let entered = Arc::clone(&method);
        let entered = entered.enter();
        if entered.is_none() || !method.try_wait(shared.limits.pending_calls) {
            return Err(shared.overloaded().into());
        }
        let id = shared.next_call.fetch_add(1, Ordering::Relaxed);
        let (sender, actions) = unbounded_channel();
        let call = NewCall { id, method, headers, peer, deadline: self.deadline, message, actions: sender };
        shared.bridge.push(Event::Call(call));
        let end = self.converse(id, actions).await;
        if end.is_err() {
            shared.bridge.push(Event::Cancelled(id));
        }
        end
    }

    /// Carries messages to and from a handler, until it ends the call, the client disconnects, the deadline passes or the
    /// server closes.
    async fn converse(&mut self, id: u64, mut actions: UnboundedReceiver<Action>) -> Result<(), End> {
        let bridge = &self.shared.bridge;
        let mut stage = self.shared.stage.subscribe();
        let mut closing = pin!(Stage::Closing.reached(&mut stage));
        let mut late_at = pin!(passed(self.deadline));
        let mut wanted: usize = 0;
        loop {
            tokio::select! {
                biased;
                action = actions.recv() => match action {
                    Some(Action::Finish(status)) => {
                        self.writer.finish(status);
                        return Ok(());
                    }
                    Some(Action::Answer(message, status)) => {
                        self.send(message).await?;
                        self.writer.finish(status);
                        return Ok(());
                    }
                    Some(Action::Message(message)) => {
                        self.send(message).await?;
                        bridge.push(Event::Sent(id));
                    }
                    Some(Action::Headers(metadata, encoding)) => self.writer.send_headers(metadata, encoding)?,
                    Some(Action::Read) => wanted += 1,
                    None => return Err(Status::new(Code::Internal, "the handler has gone").into()),
                },
                message = poll_fn(|context| self.messages.poll_next(context)), if wanted > 0 => {
                    let message = message?;
                    wanted = if message.is_some() { wanted - 1 } else { 0 };
                    bridge.push(Event::Message(id, message));
                }
                () = poll_fn(|context| self.writer.poll_gone(context)) => return Err(End::Gone),
                () = &mut late_at => return Err(late()),
                () = &mut closing => return Err(stopped()),
            }
        }
    }
}

/// A message that gets a place in a queue while it arrives.
struct Incoming<'a> {
    messages: &'a mut Messages,
    fast_path: &'a FastPath,
    kind: Kind,
    place: Option<Place>,
}

impl Incoming<'_> {
    /// Returns the message. Cancel-safe.
    async fn next(&mut self) -> Result<Option<Message>, ReadError> {
        let Self { messages, fast_path, kind, place } = self;
        let mut admit = |length: usize, part: &[u8]| {
            if place.is_none() {
                *place = fast_path.admit(*kind, length, part)?;
            }
            Ok(())
        };
        poll_fn(|context| messages.poll_next_admitted(context, &mut admit)).await
    }

    /// Returns the message. If it does not arrive in time, it loses its place, so that slow clients hold no places.
    async fn next_before_place_is_lost(&mut self) -> Result<Option<Message>, ReadError> {
        if let Ok(message) = timeout(RESERVATION, self.next()).await {
            return message;
        }
        self.place = None;
        poll_fn(|context| self.messages.poll_next(context)).await
    }
}

/// Awaits a future until the client disconnects, the deadline passes or the server closes.
async fn while_wanted<T>(
    shared: &Shared,
    writer: &mut ResponseWriter,
    deadline: Option<Instant>,
    future: impl Future<Output = T>,
) -> Result<T, End> {
    unless_ended(future, unwanted(shared, writer, deadline)).await
}

/// Awaits a future, or an event that ends it. Most futures are ready at once, so the event is only awaited if they are not.
/// A future that yields is not polled again before others have had their turn.
async fn unless_ended<T>(future: impl Future<Output = T>, end: impl Future<Output = End>) -> Result<T, End> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        end = end => Err(end),
    }
}

/// Waits until the client disconnects, the deadline passes or the server closes.
async fn unwanted(shared: &Shared, writer: &mut ResponseWriter, deadline: Option<Instant>) -> End {
    let mut stage = shared.stage.subscribe();
    tokio::select! {
        biased;
        () = poll_fn(|context| writer.poll_gone(context)) => End::Gone,
        () = passed(deadline) => late(),
        () = Stage::Closing.reached(&mut stage) => stopped(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::runtime;

    use super::*;

    fn run(work: impl Future<Output = Result<(), End>>) -> Result<(), End> {
        runtime::Builder::new_current_thread().build().unwrap().block_on(unless_panicked(work))
    }

    #[test]
    fn a_panic_is_the_end_of_its_call() {
        let panics = async {
            yield_now().await;
            "no number".parse::<u8>().unwrap();
            Ok(())
        };
        assert!(matches!(run(panics), Err(End::Panicked)));
        assert!(matches!(run(async { Err(End::Gone) }), Err(End::Gone)));
    }

    #[test]
    fn work_that_yields_lets_others_have_their_turn() {
        let turns = Mutex::new(Vec::new());
        let work = async {
            turns.lock().unwrap().push("first");
            yield_now().await;
            turns.lock().unwrap().push("second");
        };
        let other = async {
            turns.lock().unwrap().push("other");
            yield_now().await;
        };
        let both = async { tokio::join!(unless_ended(work, pending()), other) };
        let (end, ()) = runtime::Builder::new_current_thread().build().unwrap().block_on(both);
        assert!(end.is_ok());
        assert_eq!(*turns.lock().unwrap(), ["first", "other", "second"]);
    }
}
