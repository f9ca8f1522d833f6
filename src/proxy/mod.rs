//! The ways to a destination: one trait, one file for each way.
//!
//! A proxy dials and shakes hands; it knows no DNS, no routing, no time-out and no fail-over:
//! those belong to `dispatch`. What [`Proxy::connect`] returns decides how `relay` carries the
//! bytes.

pub mod address;
pub mod association;
pub mod credentials;
pub mod direct;
mod doubt;
pub mod endpoint;
mod error;
pub mod first_payload;
pub mod http;
#[cfg(feature = "tls")]
pub mod https;
#[cfg(not(feature = "tls"))]
mod no_tls;
pub mod server;
pub mod shadowsocks;
pub mod socks5;
#[cfg(feature = "tls")]
pub mod tls;
pub mod trust;
pub mod warm;

use crate::target::Target;
use association::Association;
use endpoint::Endpoint;
pub use error::Error;
use first_payload::FirstPayload;
#[cfg(not(feature = "tls"))]
pub use no_tls::{https, tls};
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use warm::DialledAhead;

/// A boxed future, since a trait object has to return one.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A way to a destination.
pub trait Proxy: Debug + Send + Sync {
    /// The name that logs and errors use: `[[proxy]] name`, or the server.
    fn name(&self) -> &str;

    /// Dials and does whatever must happen before the first payload byte. Takes no byte of the
    /// client, so that a failed dial can be repeated elsewhere without replay.
    ///
    /// Dropping the future closes whatever it opened; how far it had come is left in `progress`.
    fn connect<'a>(
        &'a self,
        target: &'a Target,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Link, Error>>;

    /// The same for a program that is there already: where the protocol allows it, what it says may
    /// be sent behind the request, before the server has answered. `payload` knows whether that has
    /// happened.
    fn connect_carrying<'a>(
        &'a self,
        target: &'a Target,
        progress: &'a Progress,
        payload: &'a FirstPayload<'a>,
    ) -> BoxFuture<'a, Result<Link, Error>> {
        let _ = payload;
        self.connect(target, progress)
    }

    /// Makes a way for the datagrams of one client socket. Its socket belongs to the runtime of the
    /// calling thread.
    fn associate(&self) -> BoxFuture<'_, Result<Association, Error>> {
        Box::pin(async move { Err(Error::NoDatagrams) })
    }

    /// Whether [`associate`](Self::associate) is worth a try: the protocol carries datagrams, and
    /// the operator has not said that the server does not.
    fn carries_datagrams(&self) -> bool {
        false
    }

    /// Where its server is; `None` for direct.
    fn endpoint(&self) -> Option<&Endpoint> {
        None
    }

    /// Tells that something was sent on a connection, and that it ended without a byte back.
    fn was_unanswered(&self) {}

    /// The network is another one: whatever is kept for coming dials, beside what is
    /// [`dialled_ahead`](Self::dialled_ahead), may be dead.
    fn network_changed(&self) {}

    /// The connections to its server that are dialled ahead of need; `None`: none are.
    fn dialled_ahead(&self) -> Option<&dyn DialledAhead> {
        None
    }

    /// What may be wrong if the server takes connections and never sends a byte on them.
    fn suspicion_of_silence(&self) -> String {
        "is the password or the method wrong?".into()
    }

    /// Whether the server answers during the dial: then one that succeeded has our credentials
    /// accepted, and silence from there on is the destination's.
    fn is_heard_at_the_dial(&self) -> bool {
        true
    }
}

/// How far a dial has come. When it is given up, this tells a server that is silent from one that
/// waits for a silent destination.
#[derive(Debug, Default)]
pub struct Progress {
    server_reached: AtomicBool,
    was_ready: AtomicBool,
    is_probe: bool,
}

impl Progress {
    /// Of a dial that nobody needs, which is to show how the server is now: it takes no connection
    /// that was dialled ahead, and none is dialled because of it.
    pub fn of_probe() -> Self {
        Progress { is_probe: true, ..Progress::default() }
    }

    /// Whether it is such a dial.
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// The connection to the proxy server was dialled ahead.
    pub fn connection_was_ready(&self) {
        self.was_ready.store(true, Ordering::Relaxed);
    }

    /// Whether it was. Then the time of the dial does not tell how far the server is; nor does its
    /// success, where the server answers nothing at the dial, that it is there.
    pub fn was_connection_ready(&self) -> bool {
        self.was_ready.load(Ordering::Relaxed)
    }

    /// A connection to the proxy server itself stands.
    pub fn server_is_reached(&self) {
        self.server_reached.store(true, Ordering::Relaxed);
    }

    /// Whether one does.
    pub fn is_server_reached(&self) -> bool {
        self.server_reached.load(Ordering::Relaxed)
    }
}

/// A connection to a destination, in the shape that lets `relay` be fast.
#[derive(Debug)]
pub enum Link {
    /// A bare TCP connection.
    Plain {
        /// The connection.
        tcp: TcpStream,
        /// Bytes of the destination that came behind the proxy's header.
        early: Vec<u8>,
        /// What becomes of the client's FIN.
        half_close: HalfClose,
    },
    /// A TCP connection with a sealer and an opener; the address header is not yet sent: it
    /// leaves together with the first payload.
    Sealed(Box<shadowsocks::Sealed>),
    /// Anything else (TLS, a stream of HTTP/2): copied.
    Stream {
        /// Both directions.
        stream: Box<dyn Stream>,
        /// What becomes of the client's FIN.
        half_close: HalfClose,
    },
}

/// What becomes of the client's FIN while the destination still speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfClose {
    /// It is sent on at once.
    Forwarded,
    /// It is held back: the other end would take it for the end of both halves.
    Held,
}

impl Link {
    /// The connection as one async byte stream, for callers that speak a protocol over it.
    pub fn into_stream(self) -> Box<dyn Stream> {
        match self {
            Link::Plain { tcp, early, .. } if early.is_empty() => Box::new(tcp),
            Link::Plain { tcp, early, .. } => {
                let (source, sink) = tcp.into_split();
                Box::new(tokio::io::join(io::Cursor::new(early).chain(source), sink))
            }
            Link::Sealed(sealed) => Box::new(shadowsocks::stream::SealedStream::new(*sealed)),
            Link::Stream { stream, .. } => stream,
        }
    }
}

/// An async byte stream in both directions; `shutdown` closes the writing half.
pub trait Stream: AsyncRead + AsyncWrite + Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Debug + Send + Unpin> Stream for T {}
