//! The state that all threads of a server share, and the stage of its life.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::watch;

use crate::bridge::Bridge;
use crate::budget::Budget;
use crate::fast_path::{FastPath, overloaded};
use crate::limits::Limits;
use crate::method::Method;
use crate::status::Status;
use crate::tls::Certificates;

/// The stage of a server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Running,
    /// New connections and calls are refused, calls in flight go on.
    Draining,
    /// All calls are ended.
    Closing,
}

impl Stage {
    /// Waits until the server has reached this stage.
    pub async fn reached(self, stage: &mut watch::Receiver<Stage>) {
        stage.wait_for(|stage| *stage >= self).await.ok();
    }
}

/// The state that all threads of a server share.
pub struct Shared {
    pub limits: Limits,
    pub methods: HashMap<String, Arc<Method>>,
    pub bridge: Arc<Bridge>,
    pub certificates: Arc<Certificates>,
    pub stage: watch::Sender<Stage>,
    pub next_call: AtomicU64,
    /// The status of a call that is refused because too many wait: a serialized `google.rpc.Status`.
    pub overload: Vec<u8>,
    pub fast_path: FastPath,
    pub budget: Arc<Budget>,
}

impl Shared {
    /// Returns the status of a call that is refused because too many wait.
    pub fn overloaded(&self) -> Status {
        overloaded(&self.overload)
    }
}
