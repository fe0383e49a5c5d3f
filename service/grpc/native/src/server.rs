//! The server: ports, and the threads that serve them until it stops.

use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::bridge::Event;
use crate::budget::Holder;
use crate::connection::{self, Client, Transport};
use crate::limits::{CONNECTIONS, HANDSHAKE};
use crate::open_connections::{Calls, Closing, OpenConnections};
use crate::panics;
use crate::shared::{Shared, Stage};
use crate::threads::{self, Idleness};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;
/// Pause after an accept that failed: descriptors may be short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A TCP port or Unix domain socket that listens.
pub enum Port {
    Tcp { listener: StdTcpListener, tls: bool },
    Unix { listener: StdUnixListener, tls: bool },
}

impl Port {
    /// Listens on the same port of each of a host's addresses, and returns the port. Addresses that this machine lacks are
    /// left out: `localhost` may have an IPv6 address where there is no IPv6.
    pub fn of_host(addresses: impl IntoIterator<Item = SocketAddr>, tls: bool) -> io::Result<(u16, Vec<Self>)> {
        let (mut port, mut ports, mut lacking) = (0, Vec::new(), None);
        for mut address in addresses {
            if !ports.is_empty() {
                address.set_port(port);
            }
            match Self::tcp(address, tls) {
                Ok(Self::Tcp { listener, tls }) => {
                    port = listener.local_addr()?.port();
                    ports.push(Self::Tcp { listener, tls });
                }
                Ok(other) => ports.push(other),
                Err(error) if is_lacking(&error) => lacking = Some(error),
                Err(error) => return Err(error),
            }
        }
        match lacking {
            Some(error) if ports.is_empty() => Err(error),
            _ => Ok((port, ports)),
        }
    }

    /// Listens on a TCP port that several processes and threads share: the kernel spreads connections over them.
    ///
    /// The unspecified address stands for all of the machine's, of IPv4 and IPv6, as it does for gRPC.
    pub fn tcp(address: SocketAddr, tls: bool) -> io::Result<Self> {
        if address.ip().is_unspecified() {
            let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port());
            return Self::bind(any, tls).or_else(|_| Self::bind(address, tls));
        }
        Self::bind(address, tls)
    }

    fn bind(address: SocketAddr, tls: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self::Tcp { listener: socket.into(), tls })
    }

    /// Listens on a Unix domain socket, and replaces one that exists: whoever starts the server has reserved the path.
    pub fn unix(path: &str, tls: bool) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = StdUnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Unix { listener, tls })
    }

    /// Returns another listener on the same port, for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp { listener, tls } => Self::tcp(listener.local_addr()?, *tls),
            Self::Unix { listener, tls } => Ok(Self::Unix { listener: listener.try_clone()?, tls: *tls }),
        }
    }
}

/// Tells whether the machine has no such address, or no addresses of this family.
fn is_lacking(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// Serves ports, each set on a thread of its own. `Event::Stopped` reports that all have ended.
pub fn start(shared: &Arc<Shared>, ports: Vec<Vec<Port>>, idleness: &Arc<Idleness>) -> io::Result<()> {
    let running = Arc::new(AtomicUsize::new(ports.len()));
    for (number, ports) in ports.into_iter().enumerate() {
        let [parked, unparked] = [Arc::clone(idleness), Arc::clone(idleness)];
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || parked.change(number))
            .on_thread_unpark(move || unparked.change(number))
            .build()?;
        let (shared, running) = (Arc::clone(shared), Arc::clone(&running));
        thread::Builder::new().name(format!("grpc-{number}")).spawn(move || {
            threads::enter(number);
            panics::keep();
            runtime.block_on(serve(&shared, ports));
            runtime.shutdown_background();
            if running.fetch_sub(1, Ordering::AcqRel) == 1 {
                shared.bridge.push(Event::Stopped);
            }
        })?;
    }
    Ok(())
}

async fn serve(shared: &Arc<Shared>, ports: Vec<Port>) {
    let mut tasks = JoinSet::new();
    for port in ports {
        tasks.spawn(listen(Arc::clone(shared), port));
    }
    while tasks.join_next().await.is_some() {}
}

/// Accepts connections until the server stops, and waits until they have ended.
async fn listen(shared: Arc<Shared>, port: Port) {
    let mut stage = shared.stage.subscribe();
    let mut connections = OpenConnections::new(CONNECTIONS);
    let (listener, tls) = match port {
        Port::Tcp { listener, tls } => (TcpListener::from_std(listener).map(Listener::Tcp), tls),
        Port::Unix { listener, tls } => (UnixListener::from_std(listener).map(Listener::Unix), tls),
    };
    let Ok(listener) = listener else { return };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) if connections.make_room() => {
                    let shared = Arc::clone(&shared);
                    connections.spawn(|calls, closing| serve_connection(shared, accepted, tls, calls, closing));
                }
                Ok(_) => {} // all others have calls: it is closed
                Err(error) => {
                    if is_out_of_descriptors(&error) && connections.close_longest_idle() {
                        yield_now().await; // the connection ends now
                    } else {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            },
            Some(ended) = connections.next_ended() => {
                if ended.is_err() {
                    shared.bridge.push(Event::Panicked(panics::place()));
                }
            }
            () = Stage::Draining.reached(&mut stage) => break,
        }
    }
    drop(listener);
    while connections.next_ended().await.is_some() {}
}

/// Tells whether the process or the machine has no descriptor left for a connection.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Accepted {
    Tcp(tokio::net::TcpStream, SocketAddr),
    Unix(tokio::net::UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

/// Serves a connection that has been accepted, after a TLS handshake if the port is encrypted.
async fn serve_connection(shared: Arc<Shared>, accepted: Accepted, tls: bool, calls: Arc<Calls>, closing: Closing) {
    let (peer, address, socket): (_, _, Transport) = match accepted {
        Accepted::Unix(stream) => ("unix:".to_owned(), None, Box::new(stream)),
        Accepted::Tcp(stream, address) => {
            stream.set_nodelay(true).ok();
            (peer(address), Some(address.ip()), Box::new(stream))
        }
    };
    let mut client = Client { peer: peer.into(), holder: Holder::new(&shared.budget, address), calls, closing };
    let transport = if tls {
        tokio::select! {
            () = client.closing.asked() => None,
            transport = encrypted(&shared, socket) => transport,
        }
    } else {
        Some(socket)
    };
    if let Some(transport) = transport {
        connection::serve(shared, client, transport).await;
    }
}

/// Performs the TLS handshake; None: it failed, or took too long.
async fn encrypted(shared: &Shared, socket: Transport) -> Option<Transport> {
    let handshake = async {
        let (current, refreshed) = oneshot::channel();
        shared.bridge.push(Event::Handshake(current));
        refreshed.await.ok()?;
        TlsAcceptor::from(shared.certificates.get()?).accept(socket).await.ok()
    };
    Some(Box::new(timeout(HANDSHAKE, handshake).await.ok()??))
}

/// Writes a client's address as gRPC does.
fn peer(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => format!("ipv4:{address}"),
        SocketAddr::V6(address) => format!("ipv6:%5B{}%5D:{}", address.ip(), address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(addresses: &[&str]) -> io::Result<(u16, usize)> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        Port::of_host(addresses, false).map(|(port, ports)| (port, ports.len()))
    }

    #[test]
    fn addresses_that_the_machine_lacks_are_left_out_unless_it_lacks_all() {
        let (port, listeners) = listen(&["192.0.2.1:0", "127.0.0.1:0", "192.0.2.1:0", "127.0.0.2:0"]).unwrap();
        assert!(port > 0 && listeners == 2);
        assert_eq!(listen(&["192.0.2.1:0"]).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn a_port_that_is_taken_on_one_address_is_refused() {
        let taken = StdTcpListener::bind("127.0.0.2:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let refused = listen(&[&format!("127.0.0.1:{port}"), &format!("127.0.0.2:{port}")]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }
}
