//! One HTTP/2 connection: its calls, limits and age.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use h2::server::{Builder, Connection};
use h2::{Ping, PingPong, Reason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep_until, timeout};

use crate::budget::{Holder, Part};
use crate::call;
use crate::io::{Activity, Watched};
use crate::limits::{CONNECTION_WINDOW, FLUSH, HANDSHAKE, Limits, SEND_BUFFER, STREAM_WINDOW};
use crate::open_connections::{Calls, Closing};
use crate::opening;
use crate::random;
use crate::response::ResponseWriter;
use crate::shared::{Shared, Stage};

/// A client may reset this multiple of its maximum number of streams before they are accepted: if a server is late, the
/// deadlines of all its calls pass at once. Only floods of resets exceed it.
const RESETS_PER_STREAM: usize = 2;

/// The ages of connections differ by up to this share of the configured age, as in gRPC's core: clients that connected at the
/// same time, as after a restart, do not reconnect at the same time.
const AGE_SPREAD: f64 = 0.1;

/// Number of calls of a connection from which on a call has a task only if it has to wait.
const TASKS_AT_ONCE: usize = 8;

/// Number of streams whose frames are ignored for a second, because they were answered before their requests had arrived.
/// Frames of other ended streams count as errors of the client, of which it may make about a thousand.
const REFUSED_STREAMS: usize = 1000;

/// The client at the other end of a connection.
pub struct Client {
    /// Its address, as gRPC writes it.
    pub peer: Arc<str>,
    pub holder: Arc<Holder>,
    pub calls: Arc<Calls>,
    pub closing: Closing,
}

/// The bytes of a connection, from any kind of socket, encrypted or not. As one type, HTTP/2 is compiled once for all kinds.
pub type Transport = Box<dyn Stream>;

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

type Http2 = Connection<Watched<Transport>, Part>;

/// Serves a connection until it ends.
pub async fn serve(shared: Arc<Shared>, mut client: Client, transport: Transport) {
    let limits = &shared.limits;
    let opened = tokio::select! {
        () = client.closing.asked() => return,
        opened = timeout(HANDSHAKE, open(limits, transport)) => opened,
    };
    let Ok(Some((connection, activity))) = opened else { return };
    let life = Life {
        activity: Arc::clone(&activity),
        limits: Limits { age: spread(limits.age), ..limits.clone() },
        born: Instant::now(),
        draining: false,
        pinged: None,
    };
    let mut driven = pin!(drive(&shared, client, connection, life));
    poll_fn(|context| {
        activity.begin_turn();
        driven.as_mut().poll(context)
    })
    .await;
}

/// Reads the beginning of a connection, up to HTTP/2's preface; None: the client does not speak HTTP/2.
async fn open(limits: &Limits, mut transport: Transport) -> Option<(Http2, Arc<Activity>)> {
    let opening = opening::read(&mut transport).await.ok()?;
    let (watched, activity) = Watched::new(transport, opening, limits.ping_interval);
    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(limits.streams)
        .max_concurrent_reset_streams(REFUSED_STREAMS)
        .max_pending_accept_reset_streams(RESETS_PER_STREAM * limits.streams as usize)
        .max_header_list_size(limits.decoded_metadata())
        .handshake::<_, Part>(watched);
    Some((handshake.await.ok()?, activity))
}

async fn drive(shared: &Arc<Shared>, client: Client, mut connection: Http2, mut life: Life) {
    let Some(mut pings) = connection.ping_pong() else { return };
    let Client { peer, holder, calls, mut closing } = client;
    let mut stage = shared.stage.subscribe();
    let overload = &shared.fast_path.overload;
    let mut window = STREAM_WINDOW;
    loop {
        let wanted = overload.stream_window();
        // This fails until the client has acknowledged the last change; it is tried again later.
        if wanted != window && connection.set_initial_window_size(wanted).is_ok() {
            window = wanted;
        }
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let under_way = calls.begin();
                    let writer = ResponseWriter::new(respond, Arc::clone(&holder));
                    let answer = call::answer(Arc::clone(shared), Arc::clone(&peer), request, writer);
                    let mut answered = Box::pin(async move {
                        answer.await;
                        drop(under_way);
                    });
                    // The answers of a few tasks are written together. Of many calls most end at their first poll: if each
                    // had its task, of 8 KiB, those of all connections would wait together.
                    if calls.number() <= TASKS_AT_ONCE || call::poll_once(answered.as_mut()).await.is_none() {
                        tokio::spawn(answered);
                    }
                }
                _ => return,
            },
            changed = stage.changed() => {
                let stage = if changed.is_ok() { *stage.borrow_and_update() } else { Stage::Closing };
                if stage == Stage::Closing {
                    connection.graceful_shutdown();
                    return flush(connection).await;
                }
                life.draining = true;
                connection.graceful_shutdown();
            }
            // Not gracefully: the client could delay its answer. It repeats a call that has not arrived.
            () = closing.asked() => {
                connection.abrupt_shutdown(Reason::NO_ERROR);
                return flush(connection).await;
            }
            () = overload.ends(), if window != STREAM_WINDOW => {}
            next = life.next(&calls, &mut pings) => match next {
                Next::Drain => connection.graceful_shutdown(),
                Next::Close => return,
            },
        }
    }
}

/// Sends pending data for a limited time, after the connection was told to shut down.
async fn flush(mut connection: Http2) {
    let mut closed = pin!(poll_fn(|context| connection.poll_closed(context)));
    timeout(FLUSH, &mut closed).await.ok();
}

/// Returns an age that differs at random from this one.
fn spread(age: Duration) -> Duration {
    age.mul_f64(1.0 + AGE_SPREAD * (2.0 * random::fraction() - 1.0))
}

/// The action of a timer.
enum Next {
    /// Accept no further calls.
    Drain,
    /// The client no longer responds.
    Close,
}

/// When a connection is pinged, and when it ends.
struct Life {
    activity: Arc<Activity>,
    limits: Limits,
    born: Instant,
    draining: bool,
    pinged: Option<Instant>,
}

impl Life {
    /// Waits for the next timer. Cancel-safe.
    async fn next(&mut self, calls: &Calls, pings: &mut PingPong) -> Next {
        loop {
            let now = Instant::now();
            let heard = self.activity.last_read();
            if self.pinged.is_some_and(|pinged| heard > pinged) {
                self.pinged = None;
            }
            let end = (self.born + self.limits.age).min(calls.idle_since() + self.limits.idle);
            if !self.draining && now >= end {
                self.draining = true;
                return Next::Drain;
            }
            let mut due = match self.pinged {
                Some(pinged) => pinged + self.limits.keepalive_answer,
                None => heard + self.limits.keepalive,
            };
            if now >= due {
                if self.pinged.is_some() || pings.send_ping(Ping::opaque()).is_err() {
                    return Next::Close;
                }
                self.pinged = Some(now);
                due = now + self.limits.keepalive_answer;
            }
            if !self.draining {
                due = due.min(end);
            }
            tokio::select! {
                () = sleep_until(due.into()) => {}
                pong = poll_fn(|context| pings.poll_pong(context)) => match pong {
                    Ok(_) => self.pinged = None,
                    Err(_) => return Next::Close,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_reach_their_age_at_different_times_close_to_the_limit() {
        let ages: Vec<_> = (0..100).map(|_| spread(Duration::from_secs(1000)).as_secs()).collect();
        assert!(ages.iter().all(|age| (900..=1100).contains(age)));
        assert!(ages.iter().max() > ages.iter().min());
    }
}
