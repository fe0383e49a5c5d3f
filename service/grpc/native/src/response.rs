//! The client's side of one call: headers, messages, and the status.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::budget::{Held, Holder, Part};
use crate::compression::{ACCEPTED, Encoding};
use crate::metadata::REQUEST_ID;
use crate::status::Status;

static GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
static GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
static APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The client has disconnected.
#[derive(Debug)]
pub struct Gone;

enum State {
    /// Nothing has been sent.
    New(SendResponse<Part>),
    /// The headers have been sent.
    Open(SendStream<Part>),
    /// The status has been sent, or the client has disconnected.
    Ended,
}

/// Sends the response of one call.
pub struct ResponseWriter {
    state: State,
    holder: Arc<Holder>,
    /// The call's id, which its trailing metadata return.
    request_id: Option<HeaderValue>,
}

impl ResponseWriter {
    /// # Arguments
    /// * `holder` - What the connection holds of the budget.
    pub fn new(respond: SendResponse<Part>, holder: Arc<Holder>) -> Self {
        Self { state: State::New(respond), holder, request_id: None }
    }

    /// Has the trailing metadata return the call's id.
    pub fn set_request_id(&mut self, id: HeaderValue) {
        self.request_id = Some(id);
    }

    /// Sends the headers, once; later calls change nothing.
    pub fn send_headers(&mut self, metadata: HeaderMap, encoding: Encoding) -> Result<(), Gone> {
        if let State::New(respond) = &mut self.state {
            let mut response = grpc_response(metadata);
            if encoding != Encoding::Identity {
                response.headers_mut().insert(GRPC_ENCODING.clone(), HeaderValue::from_static(encoding.name()));
            }
            self.state = State::Open(respond.send_response(response, false).map_err(|_| Gone)?);
        }
        Ok(())
    }

    /// Holds the bytes of a message until they have been sent; None: there is no room for them.
    pub fn hold(&self, bytes: usize) -> Option<Held> {
        self.holder.hold_response(bytes)
    }

    /// What the call's connection holds of the budget.
    pub fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    /// Sends a part of a message, headers first if they have not been sent.
    pub fn send(&mut self, part: Bytes, held: Held) -> Result<(), Gone> {
        self.send_headers(HeaderMap::new(), Encoding::Identity)?;
        match &mut self.state {
            State::Open(stream) => stream.send_data(Part::new(part, held), false).map_err(|_| Gone),
            _ => Err(Gone),
        }
    }

    /// Sends the headers, and waits until the client's window has room for some of these bytes. Returns how many.
    pub async fn room(&mut self, wanted: usize) -> Result<usize, Gone> {
        self.send_headers(HeaderMap::new(), Encoding::Identity)?;
        let State::Open(stream) = &mut self.state else { return Err(Gone) };
        stream.reserve_capacity(wanted.max(1));
        while stream.capacity() == 0 {
            match poll_fn(|context| stream.poll_capacity(context)).await {
                Some(Ok(_)) => {}
                _ => return Err(Gone),
            }
        }
        Ok(stream.capacity())
    }

    /// Ends the call.
    pub fn finish(&mut self, status: Status) {
        let mut trailers = status.into_trailers();
        if let Some(id) = self.request_id.take() {
            trailers.insert(REQUEST_ID, id);
        }
        match std::mem::replace(&mut self.state, State::Ended) {
            State::New(mut respond) => {
                let response = grpc_response(trailers);
                respond.send_response(response, true).ok();
            }
            State::Open(mut stream) => {
                stream.send_trailers(trailers).ok();
            }
            State::Ended => {}
        }
    }

    /// Refuses a request that is not gRPC.
    pub fn refuse(&mut self, code: StatusCode) {
        if let State::New(mut respond) = std::mem::replace(&mut self.state, State::Ended) {
            let mut response = Response::new(());
            *response.status_mut() = code;
            respond.send_response(response, true).ok();
        }
    }

    /// Completes when the client resets the call, or its connection goes.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.state {
            State::New(respond) => respond.poll_reset(context),
            State::Open(stream) => stream.poll_reset(context),
            State::Ended => Poll::Ready(Ok(Reason::NO_ERROR)),
        };
        reset.map(|_| ())
    }
}

fn grpc_response(mut headers: HeaderMap) -> Response<()> {
    headers.insert(CONTENT_TYPE, APPLICATION_GRPC.clone());
    headers.insert(GRPC_ACCEPT_ENCODING.clone(), HeaderValue::from_static(ACCEPTED));
    let mut response = Response::new(());
    *response.headers_mut() = headers;
    response
}
