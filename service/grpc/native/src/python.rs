//! The classes that Python sees.

use std::collections::HashMap;
use std::net::ToSocketAddrs;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderMap;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use crate::answers::AnswerQueue;
use crate::bridge::{Action, Bridge, Event, NewCall};
use crate::budget::Budget;
use crate::codec::{self, encode};
use crate::compression::Encoding;
use crate::fast_path::{FastMethod, FastPath, Kind};
use crate::limits::{CALLS_PER_TURN, HELD_BYTES, Limits};
use crate::metadata;
use crate::method::Method;
use crate::metrics::MethodMetrics;
use crate::models::{Models, Publication, RequestLimits};
use crate::overload::Overload;
use crate::server::{self, Port};
use crate::shared::{Shared, Stage};
use crate::status::Status;
use crate::threads::Idleness;
use crate::tls::Certificates;
use crate::tokens::{Stamp, Tokens};

/// The settings of a server, before its start.
#[derive(Default)]
struct Setup {
    limits: Limits,
    methods: HashMap<String, Arc<Method>>,
    ports: Vec<Port>,
    overload: Vec<u8>,
    fast_methods: HashMap<usize, FastMethod>,
    request_limits: RequestLimits,
    request_ids: bool,
}

/// A server. Its events are taken by one thread, that of Python's event loop.
#[pyclass(frozen, module = "service.grpc._native_server")]
pub struct Server {
    bridge: Arc<Bridge>,
    certificates: Arc<Certificates>,
    stage: watch::Sender<Stage>,
    models: Arc<ArcSwap<Models>>,
    tokens: Arc<ArcSwapOption<Tokens>>,
    threads: usize,
    idleness: Arc<Idleness>,
    setup: Mutex<Option<Setup>>,
}

impl Server {
    fn set_up<T>(&self, change: impl FnOnce(&mut Setup) -> PyResult<T>) -> PyResult<T> {
        let mut setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        change(setup.as_mut().ok_or_else(|| PyRuntimeError::new_err("the server has been started"))?)
    }
}

#[pymethods]
impl Server {
    #[new]
    fn new(options: Vec<(String, u64)>, threads: usize) -> PyResult<Self> {
        let mut setup = Setup::default();
        for (name, value) in options {
            setup.limits.set(&name, value);
        }
        Ok(Self {
            bridge: Arc::new(Bridge::new()?),
            certificates: Arc::default(),
            stage: watch::Sender::new(Stage::Running),
            models: Arc::default(),
            tokens: Arc::default(),
            threads: threads.max(1),
            idleness: Arc::new(Idleness::new(threads.max(1))),
            setup: Mutex::new(Some(setup)),
        })
    }

    /// Registers a method and returns its number.
    fn add_method(&self, path: String) -> PyResult<usize> {
        self.set_up(|setup| {
            let index = setup.methods.len();
            setup.methods.insert(path, Arc::new(Method::new(index)));
            Ok(index)
        })
    }

    /// Sets the status of a call that is refused because too many wait: a serialized `google.rpc.Status`.
    fn set_overload_status(&self, status: Vec<u8>) -> PyResult<()> {
        self.set_up(|setup| {
            setup.overload = status;
            Ok(())
        })
    }

    /// Has plain requests of a method answered without Python.
    fn add_fast_method(&self, path: &str, kind: &str, metrics: MethodMetrics) -> PyResult<()> {
        let kind = Kind::from_name(kind).ok_or_else(|| PyValueError::new_err(format!("no kind {kind:?}")))?;
        self.set_up(|setup| {
            let method = setup.methods.get(path).ok_or_else(|| PyValueError::new_err(format!("no method {path}")))?;
            setup.fast_methods.insert(method.index, FastMethod { kind, metrics });
            Ok(())
        })
    }

    /// Sets what one request may hold and what may wait for one model.
    fn set_request_limits(&self, limits: RequestLimits) -> PyResult<()> {
        self.set_up(|setup| {
            setup.request_limits = limits;
            Ok(())
        })
    }

    /// Gives calls that are answered without Python ids, too.
    fn set_request_ids(&self) -> PyResult<()> {
        self.set_up(|setup| {
            setup.request_ids = true;
            Ok(())
        })
    }

    /// Returns a queue for the answers of a version: of a share of its requests, of so many texts and bytes.
    fn answer_queue(&self, share: f64, max_texts: usize, max_bytes: usize, wake: Py<PyAny>) -> AnswerQueue {
        AnswerQueue::new((share, max_texts, max_bytes), wake, &self.bridge, &self.idleness)
    }

    /// Replaces the model versions that are answered without Python.
    fn publish(&self, versions: Vec<Publication>) -> PyResult<()> {
        let models = Models::new(versions, self.threads).map_err(PyValueError::new_err)?;
        self.models.store(Arc::new(models));
        Ok(())
    }

    /// Has calls answered without Python only if they have a token of a file that is as it was read.
    fn set_tokens(&self, path: PathBuf, stamp: Stamp, digests: Vec<[u8; 32]>) {
        self.tokens.store(Some(Arc::new(Tokens { path, stamp, digests })));
    }

    /// Listens on a host's addresses. Returns the port.
    fn add_port(&self, host: &str, port: u16, tls: bool) -> PyResult<u16> {
        self.set_up(|setup| {
            let (port, ports) = Port::of_host((host, port).to_socket_addrs()?, tls)?;
            setup.ports.extend(ports);
            Ok(port)
        })
    }

    /// Listens on a Unix domain socket.
    fn add_unix_socket(&self, path: &str, tls: bool) -> PyResult<()> {
        self.set_up(|setup| {
            setup.ports.push(Port::unix(path, tls)?);
            Ok(())
        })
    }

    /// Sets the certificates of new handshakes.
    fn set_certificates(&self, chain: &[u8], key: &[u8], client_authorities: Option<&[u8]>) -> PyResult<()> {
        self.certificates.set(chain, key, client_authorities).map_err(PyValueError::new_err)
    }

    /// Begins to serve. Returns the descriptor that is readable while there are events.
    fn start(&self) -> PyResult<RawFd> {
        let setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner).take();
        let setup = setup.ok_or_else(|| PyRuntimeError::new_err("the server has been started"))?;
        let mut ports = Vec::with_capacity(self.threads);
        for _ in 1..self.threads {
            ports.push(setup.ports.iter().map(Port::try_clone).collect::<Result<_, _>>()?);
        }
        ports.push(setup.ports);
        let held_bytes = HELD_BYTES.max(2 * setup.limits.message_bytes);
        let shared = Arc::new(Shared {
            limits: setup.limits,
            methods: setup.methods,
            bridge: Arc::clone(&self.bridge),
            certificates: Arc::clone(&self.certificates),
            stage: self.stage.clone(),
            next_call: AtomicU64::new(0),
            overload: setup.overload,
            budget: Budget::new(held_bytes),
            fast_path: FastPath {
                methods: setup.fast_methods,
                limits: setup.request_limits,
                models: Arc::clone(&self.models),
                tokens: Arc::clone(&self.tokens),
                request_ids: setup.request_ids,
                overload: Overload::default(),
            },
        });
        server::start(&shared, ports, &self.idleness)?;
        Ok(self.bridge.descriptor())
    }

    /// Takes the next events: a tuple for each, as the stub describes them.
    fn take<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let events = self.bridge.take(CALLS_PER_TURN);
        let taken = PyList::empty(python);
        for event in events {
            taken.append(to_tuple(python, event)?)?;
        }
        Ok(taken)
    }

    /// Accepts no further connections and calls.
    fn drain(&self) {
        self.stage.send_replace(Stage::Draining);
    }

    /// Ends all calls and connections.
    fn close(&self) {
        self.stage.send_replace(Stage::Closing);
    }
}

/// The kinds of event: each event is a tuple that begins with one of them.
#[pyclass(frozen, module = "service.grpc._native_server", name = "Event")]
pub struct EventKind;

#[pymethods]
impl EventKind {
    #[classattr]
    const CALL: u8 = 0;
    #[classattr]
    const MESSAGE: u8 = 1;
    #[classattr]
    const SENT: u8 = 2;
    #[classattr]
    const CANCELLED: u8 = 3;
    #[classattr]
    const HANDSHAKE: u8 = 4;
    #[classattr]
    const STOPPED: u8 = 5;
    #[classattr]
    const PANICKED: u8 = 6;
    #[classattr]
    const ANSWERED: u8 = 7;
}

fn to_tuple(python: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::Call(mut call) => {
            call.method.begun();
            let message = call.message.take().map(Message);
            let (id, index) = (call.id, call.method.index);
            (EventKind::CALL, id, Bound::new(python, Call::from(call))?, index, message).into_pyobject(python)
        }
        Event::Message(id, message) => (EventKind::MESSAGE, id, message.map(Message)).into_pyobject(python),
        Event::Sent(id) => (EventKind::SENT, id).into_pyobject(python),
        Event::Cancelled(id) => (EventKind::CANCELLED, id).into_pyobject(python),
        Event::Handshake(proceed) => (EventKind::HANDSHAKE, Handshake(Mutex::new(Some(proceed)))).into_pyobject(python),
        Event::Stopped => (EventKind::STOPPED,).into_pyobject(python),
        Event::Answered(wake) => (EventKind::ANSWERED, wake.clone_ref(python)).into_pyobject(python),
        Event::Panicked(place) => (EventKind::PANICKED, place).into_pyobject(python),
    }
}

create_exception!(
    service.grpc._native_server,
    MessageError,
    PyException,
    "A message that ends its call: code, details."
);

/// A message of a request, as it was received.
#[pyclass(frozen, module = "service.grpc._native_server")]
pub struct Message(codec::Message);

#[pymethods]
impl Message {
    /// The message, decompressed.
    fn bytes<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        match self.0.bytes() {
            Ok(bytes) => Ok(PyBytes::new(python, &bytes)),
            Err(status) => Err(MessageError::new_err((status.code, status.message))),
        }
    }
}

/// A TLS handshake that waits for the certificates.
#[pyclass(frozen, module = "service.grpc._native_server")]
pub struct Handshake(Mutex<Option<oneshot::Sender<()>>>);

#[pymethods]
impl Handshake {
    /// Goes on with the certificates that are set.
    fn proceed(&self) {
        if let Some(proceed) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            proceed.send(()).ok();
        }
    }
}

/// One call. Its methods have no effect after the call has ended.
#[pyclass(frozen, module = "service.grpc._native_server")]
pub struct Call {
    headers: HeaderMap,
    peer: Arc<str>,
    deadline: Option<Instant>,
    actions: UnboundedSender<Action>,
}

impl From<NewCall> for Call {
    fn from(call: NewCall) -> Self {
        Self { headers: call.headers, peer: call.peer, deadline: call.deadline, actions: call.actions }
    }
}

impl Call {
    fn act(&self, action: Action) {
        self.actions.send(action).ok(); // fails once the call has ended
    }
}

fn encoding(name: Option<&str>) -> PyResult<Encoding> {
    match name {
        None => Ok(Encoding::Identity),
        Some(name) => Encoding::from_name(name).ok_or_else(|| PyValueError::new_err(format!("no encoding {name:?}"))),
    }
}

fn status(code: u32, message: String, trailing: Option<&Bound<'_, PyAny>>) -> PyResult<Status> {
    let trailing = trailing.map(metadata::from_python).transpose()?.unwrap_or_default();
    Ok(Status { code, message, trailing })
}

#[pymethods]
impl Call {
    /// The client's metadata: pairs of a key and a value.
    fn metadata<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        metadata::to_python(python, &self.headers)
    }

    /// The client's address.
    fn peer(&self) -> &str {
        &self.peer
    }

    /// Seconds until the deadline, negative after it; None: there is none.
    fn time_remaining(&self) -> Option<f64> {
        let deadline = self.deadline?;
        let now = Instant::now();
        Some(match deadline.checked_duration_since(now) {
            Some(left) => left.as_secs_f64(),
            None => -now.duration_since(deadline).as_secs_f64(),
        })
    }

    /// Tells whether the client accepts messages of this encoding.
    fn accepts(&self, name: &str) -> bool {
        Encoding::from_name(name).is_some_and(|encoding| encoding.is_accepted(self.headers.get("grpc-accept-encoding")))
    }

    /// Asks for the next message of the request: an event brings it.
    fn read(&self) {
        self.act(Action::Read);
    }

    #[pyo3(signature = (metadata, encoding_name=None))]
    fn send_headers(&self, metadata: Option<&Bound<'_, PyAny>>, encoding_name: Option<&str>) -> PyResult<()> {
        let headers = metadata.map(metadata::from_python).transpose()?.unwrap_or_default();
        self.act(Action::Headers(headers, encoding(encoding_name)?));
        Ok(())
    }

    /// Sends a message: an event reports when HTTP/2 has accepted it.
    #[pyo3(signature = (message, encoding_name=None))]
    fn send_message(&self, message: &[u8], encoding_name: Option<&str>) -> PyResult<()> {
        self.act(Action::Message(encode(message, encoding(encoding_name)?)));
        Ok(())
    }

    /// Sends the only message and the status.
    #[pyo3(signature = (message, encoding_name, code, details, trailing=None))]
    fn answer(
        &self,
        message: &[u8],
        encoding_name: Option<&str>,
        code: u32,
        details: String,
        trailing: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let status = status(code, details, trailing)?;
        self.act(Action::Answer(encode(message, encoding(encoding_name)?), status));
        Ok(())
    }

    /// Sends the status.
    #[pyo3(signature = (code, details, trailing=None))]
    fn finish(&self, code: u32, details: String, trailing: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.act(Action::Finish(status(code, details, trailing)?));
        Ok(())
    }
}
