//! How connections reach us: accept, learn the original destination, hand over to a session.

pub mod tcp;
pub mod token;

mod look;
mod loops;
mod neighbour;
mod open;
mod session;
mod shares;

pub use neighbour::advice;

use crate::net::origin::{OrigDst, original_dst};
use crate::net::{Outbound, Returned};
use crate::target::canonical;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// How the original destination of an accepted connection is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intercept {
    /// A rule of ours redirected it; conntrack knows.
    Redirect,
    /// Everything goes to one place: interception on loopback without root, for tests.
    Fixed(OrigDst),
}

/// A connection that is to be served.
#[derive(Clone, Copy, Debug)]
struct Intercepted {
    /// Where it wanted to go.
    destination: OrigDst,
    /// Whether it is one of our own that came back, and is to be dialled once more; see
    /// [`Returned`](crate::net::Returned).
    is_own: bool,
}

/// Why an accepted connection is none of ours. It is reset.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// Another program dialled our port; serving it would make an open proxy, or a loop.
    #[error("it was not redirected: somebody dialled this port")]
    NotRedirected,
    /// The daemon asks whether connections are served; see `daemon::heartbeat`.
    #[error("it is the daemon's own question")]
    HealthCheck,
    /// Conntrack knows nothing of it.
    #[error("its original destination cannot be read: {0}")]
    Unknown(io::Error),
    /// It is a second dial of ours that came back as the first did: some rule overwrites the mark.
    #[error(
        "it is a connection of snet's own to {0}: some other rule overwrites the mark of \
         snet's packets"
    )]
    Own(OrigDst),
}

impl Intercept {
    /// Where `client` wanted to go.
    ///
    /// # Errors
    /// The connection did not come by way of our rules, or is our own.
    fn destination(
        self,
        stream: &TcpStream,
        client: SocketAddr,
        outbound: &Outbound,
    ) -> Result<Intercepted, Rejected> {
        if let Intercept::Fixed(destination) = self {
            return Ok(Intercepted { destination, is_own: false });
        }
        let here = canonical(stream.local_addr().map_err(Rejected::Unknown)?);
        if outbound.returned(stream, client, here).is_some() {
            return Err(Rejected::HealthCheck);
        }
        let destination = original_dst(stream, client).map_err(Rejected::Unknown)?;
        if destination.0 == here {
            return Err(Rejected::NotRedirected);
        }
        match outbound.returned(stream, client, destination.0) {
            Some(Returned::Twice) => Err(Rejected::Own(destination)),
            returned => Ok(Intercepted { destination, is_own: returned.is_some() }),
        }
    }
}

#[cfg(test)]
mod tests;
