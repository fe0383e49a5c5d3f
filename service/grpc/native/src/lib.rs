//! A gRPC server whose handlers run on Python's event loop.

mod answers;
mod authority;
mod bridge;
mod budget;
mod call;
mod codec;
mod compression;
mod connection;
mod deadline;
mod fast_path;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod io;
mod limits;
mod metadata;
mod method;
mod metrics;
mod models;
mod network;
mod open_connections;
mod opening;
mod overload;
mod panics;
mod protobuf;
mod python;
mod random;
mod response;
mod server;
mod shared;
mod status;
mod threads;
mod tls;
mod tokens;

use pyo3::prelude::*;

/// The module `service.grpc._native_server`.
#[pymodule]
fn _native_server(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<python::Server>()?;
    module.add_class::<answers::AnswerQueue>()?;
    module.add_class::<python::Call>()?;
    module.add_class::<python::EventKind>()?;
    module.add_class::<python::Message>()?;
    module.add("MessageError", module.py().get_type::<python::MessageError>())?;
    module.add_class::<python::Handshake>()
}
