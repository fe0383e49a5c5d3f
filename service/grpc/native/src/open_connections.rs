//! The open connections of one port and thread. If there are as many as there may be, the one that has been idle longest
//! makes room for a new one.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};

/// The tasks of the connections.
pub struct OpenConnections {
    limit: usize,
    tasks: JoinSet<()>,
    /// Those that have not been asked to close.
    open: HashMap<Id, Open>,
}

struct Open {
    calls: Arc<Calls>,
    close: oneshot::Sender<()>,
}

impl OpenConnections {
    pub fn new(limit: usize) -> Self {
        Self { limit, tasks: JoinSet::new(), open: HashMap::new() }
    }

    /// Tells whether there is room for another connection. Closes an idle one if need be.
    pub fn make_room(&mut self) -> bool {
        self.open.len() < self.limit || self.close_longest_idle()
    }

    /// Closes the connection that has been without calls longest; false: there is none without calls.
    ///
    /// It looks at all connections, which takes less than to accept one.
    pub fn close_longest_idle(&mut self) -> bool {
        let idle = self.open.iter().filter(|(_, open)| open.calls.number() == 0);
        let longest = idle.min_by_key(|(_, open)| open.calls.idle_since()).map(|(id, _)| *id);
        let asked = longest.and_then(|id| self.open.remove(&id)).map(|open| open.close.send(()));
        asked.is_some()
    }

    /// Serves a connection in a task of its own.
    pub fn spawn<F: Future<Output = ()> + 'static + Send>(&mut self, serve: impl FnOnce(Arc<Calls>, Closing) -> F) {
        let calls = Arc::new(Calls::new());
        let (close, asked) = oneshot::channel();
        let task = self.tasks.spawn(serve(Arc::clone(&calls), Closing(Some(asked))));
        self.open.insert(task.id(), Open { calls, close });
    }

    /// Waits until a connection has ended; None: there is none. Cancel-safe.
    pub async fn next_ended(&mut self) -> Option<Result<(), JoinError>> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        self.open.remove(&id);
        Some(ended.map(drop))
    }
}

/// Whether a connection has been asked to close.
pub struct Closing(Option<oneshot::Receiver<()>>);

impl Closing {
    /// Waits until the connection is asked to close, once. Cancel-safe.
    pub async fn asked(&mut self) {
        let Some(asked) = &mut self.0 else { return pending().await };
        let ended = asked.await;
        self.0 = None;
        if ended.is_err() {
            pending().await // the connection is no longer among the open ones
        }
    }
}

/// The calls in flight on one connection.
pub struct Calls {
    count: AtomicUsize,
    start: Instant,
    /// Milliseconds from `start` to the end of the last call.
    ended: AtomicU64,
}

impl Calls {
    pub fn new() -> Self {
        Self { count: AtomicUsize::new(0), start: Instant::now(), ended: AtomicU64::new(0) }
    }

    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.count.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    pub fn number(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the time since which there have been no calls.
    pub fn idle_since(&self) -> Instant {
        match self.number() {
            0 => self.start + Duration::from_millis(self.ended.load(Ordering::Relaxed)),
            _ => Instant::now(),
        }
    }
}

/// A call in flight, until this is dropped.
pub struct UnderWay(Arc<Calls>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let calls = &self.0;
        let passed = calls.start.elapsed().as_millis();
        calls.ended.store(u64::try_from(passed).unwrap_or(u64::MAX), Ordering::Relaxed);
        calls.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime;

    use super::*;

    /// Opens a connection that ends when it is asked to close. Returns its calls, which it holds until then.
    fn open(connections: &mut OpenConnections) -> Arc<Calls> {
        let mut opened = None;
        connections.spawn(|calls, mut closing| {
            opened = Some(Arc::clone(&calls));
            async move {
                closing.asked().await;
                drop(calls);
            }
        });
        opened.unwrap()
    }

    #[test]
    fn the_connection_that_has_been_idle_longest_makes_room_and_one_with_a_call_does_not() {
        runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let mut connections = OpenConnections::new(3);
            let [busy, used, longest] = std::array::from_fn(|_| {
                assert!(connections.make_room());
                open(&mut connections)
            });
            let call = busy.begin();
            used.ended.store(60_000, Ordering::Relaxed);
            assert!(connections.make_room() && connections.next_ended().await.is_some());
            assert_eq!([&busy, &used, &longest].map(Arc::strong_count), [4, 3, 1]);
            assert!(connections.close_longest_idle() && connections.next_ended().await.is_some());
            assert!(!connections.close_longest_idle());
            connections.limit = 1;
            assert!(!connections.make_room());
            drop(call);
            assert!(connections.make_room());
        });
    }

    #[test]
    fn a_connection_is_idle_since_its_last_call_ended() {
        let calls = Arc::new(Calls::new());
        let (first, last) = (calls.begin(), calls.begin());
        drop(first);
        let under_way = calls.idle_since();
        assert!(calls.idle_since() > under_way); // it goes on as long as a call does
        drop(last);
        let ended = calls.idle_since();
        assert_eq!(calls.idle_since(), ended);
    }
}
