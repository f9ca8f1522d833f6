//! Connections of HTTP/2 that are kept, so that a dial is one stream more and not one handshake
//! more.
//!
//! Theory of operation. A connection carries [`MOST_STREAMS`] tunnels at most, or what the server
//! allows if that is less: they share one TCP connection, and a packet that is lost stops all of
//! them. When all that are kept are full, one more is opened; so mostly there are one or two. One
//! without tunnels is closed after [`REST`].
//!
//! Memory: of each tunnel whose client does not read, a [`WINDOW`] at most. The window of the
//! connection is that of all its streams together, since a client that stalls must not stop the
//! others.
//!
//! A connection may have died without a sign. One that has not opened a tunnel for a while, or is
//! slow to, is asked by PING (RFC 9113, 6.7); without an answer in time it is dropped, and whoever
//! waited on it dials elsewhere.

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use std::fmt;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::client::TlsStream;

/// Tunnels of a connection.
const MOST_STREAMS: usize = 64;

/// Bytes that a stream may send ahead: at 200 ms of distance 5 MB/s.
const WINDOW: u32 = 1 << 20;

/// Bytes of a stream that wait for the connection to send them.
const UNSENT: usize = 64 * 1024;

/// How long a connection without tunnels is kept.
const REST: Duration = Duration::from_secs(120);

/// After so long without a new tunnel a connection has to prove that it lives.
const QUIET: Duration = Duration::from_secs(10);

/// How long it may take to.
const PONG: Duration = Duration::from_secs(2);

/// A place among the streams of a connection, given back when it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

/// A connection that is kept.
#[derive(Clone)]
pub(super) struct KeptConnection {
    pub(super) client: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

/// What its dials and its task share.
struct Shared {
    places: Arc<Semaphore>,
    /// It opens no more tunnels.
    has_ended: AtomicBool,
    opened: Mutex<Instant>,
    doubted: Notify,
}

impl KeptConnection {
    /// Makes HTTP/2 of a connection and leaves it to a task of its own.
    pub(super) async fn begin(
        tls: TlsStream<TcpStream>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, h2::Error> {
        let (client, connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW * MOST_STREAMS as u32)
            .max_send_buffer_size(UNSENT)
            .handshake(tls)
            .await?;
        let shared = Arc::new(Shared {
            places: Arc::new(Semaphore::new(MOST_STREAMS)),
            has_ended: AtomicBool::new(false),
            opened: Mutex::new(Instant::now()),
            doubted: Notify::new(),
        });
        runtime.spawn(drive(connection, Arc::clone(&shared)));
        Ok(KeptConnection { client, shared })
    }

    /// A place for one more tunnel, if there is one.
    pub(super) fn place(&self) -> Option<Place> {
        let taken = MOST_STREAMS - self.shared.places.available_permits();
        let has_room = self.is_usable() && taken < self.client.current_max_send_streams();
        let place = Arc::clone(&self.shared.places).try_acquire_owned().ok();
        place.filter(|_| has_room)
    }

    fn is_usable(&self) -> bool {
        !self.shared.has_ended.load(Ordering::Relaxed)
    }

    /// It opens no more tunnels; those that it has go on.
    pub(super) fn retire(&self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
    }

    /// Has it prove that it lives, if it is long since it did.
    pub(super) fn begin_tunnel(&self) {
        if crate::sync::lock(&self.shared.opened).elapsed() > QUIET {
            self.doubt();
        }
    }

    /// Has it prove that it lives.
    pub(super) fn doubt(&self) {
        self.shared.doubted.notify_one();
    }

    /// The server has answered.
    pub(super) fn heard(&self) {
        *crate::sync::lock(&self.shared.opened) = Instant::now();
    }
}

impl fmt::Debug for KeptConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptConnection").field("is_usable", &self.is_usable()).finish()
    }
}

/// Runs a connection to its end, or until it is dead or has rested long enough.
async fn drive(mut connection: Connection<TlsStream<TcpStream>, Bytes>, shared: Arc<Shared>) {
    let pings = connection.ping_pong();
    tokio::select! {
        _ = connection => {}
        () = silence(pings, &shared.doubted) => {}
        () = rest(&shared.places) => {}
    }
    shared.has_ended.store(true, Ordering::Relaxed);
}

/// Ends when a PING that was asked for has no answer.
async fn silence(pings: Option<PingPong>, doubted: &Notify) {
    let Some(mut pings) = pings else { return pending().await };
    loop {
        doubted.notified().await;
        if !matches!(timeout(PONG, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}

/// Ends when there has been no tunnel for long enough.
async fn rest(places: &Semaphore) {
    const LOOKS: u32 = 12;
    let mut unused = 0;
    while unused < LOOKS {
        sleep(REST / LOOKS).await;
        unused = if places.available_permits() == MOST_STREAMS { unused + 1 } else { 0 };
    }
}

/// The connections that are kept to one server.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<KeptConnection>>);

impl Kept {
    /// One with a place for one more tunnel, the oldest first: so the younger ones come to rest.
    pub(super) fn with_place(&self) -> Option<(KeptConnection, Place)> {
        let mut kept = crate::sync::lock(&self.0);
        kept.retain(KeptConnection::is_usable);
        kept.iter().find_map(|connection| Some((connection.clone(), connection.place()?)))
    }

    pub(super) fn keep(&self, connection: KeptConnection) {
        crate::sync::lock(&self.0).push(connection);
    }
}

/// What broke a tunnel, as a connection of its own would say it.
pub(super) fn cut(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
