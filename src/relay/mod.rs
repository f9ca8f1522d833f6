//! Carries the bytes of one connection.
//!
//! Theory of operation. A connection has two halves, up (client to upstream) and down. A half
//! reads one side and writes the other, and holds memory only while it has bytes in hand. It ends
//! in one of three ways, and [`join::join`] turns both ends into that of the connection:
//!
//! - its source ended: a FIN is sent on, and the other half lives on for as long as it likes (a
//!   proxy that cannot live with half a connection gets the client's later: [`hold`]);
//! - its source broke (a reset): both sides are reset at once, so that the other program learns
//!   the truth too;
//! - its sink broke: what the other half still has from there is delivered, then both are reset.
//!
//! There is no idle time-out: keepalive (`net::tune`) finds peers that vanished. Back-pressure is
//! the kernel's: a half reads again only after it has written everything.

mod broken;
mod buffer;
mod gate;
mod gather;
mod generic;
mod half;
mod hold;
mod join;
mod limits;
mod pipes;
mod plain;
mod sealed;
mod watched;

pub use buffer::LARGE as LARGE_PIECE;
pub use gate::Gate;
pub use limits::Limits;

use crate::proxy::{BoxFuture, Link};
use crate::stats::Meter;
use std::io;
use tokio::net::TcpStream;

/// How a relay ended.
#[derive(Debug)]
pub enum End {
    /// Both halves were closed in order.
    Closed,
    /// The client's side broke; the upstream was reset.
    Client(io::Error),
    /// The upstream's side broke, or its bytes did not authenticate; the client was reset.
    Upstream(io::Error),
    /// The gate was against it: the link is closed, and no byte of the client was taken.
    Turned,
}

/// Relays between the client and the link until both halves have ended or one side broke. Bytes are
/// counted in `meter` as they pass; pipes and large memory are taken from `limits`. On return the
/// link is closed, and the client closes when the caller drops it: by FIN or by reset, as the other
/// side did. `gate`: is asked once, before the first bytes of the client are taken.
///
/// Boxed, so that a connection pays for its own kind of link and not for the largest.
pub fn relay<'a>(
    client: &'a mut TcpStream,
    link: Link,
    meter: &'a Meter,
    limits: &'a Limits,
    gate: Option<Gate<'a>>,
) -> BoxFuture<'a, End> {
    match link {
        Link::Plain { tcp, early, half_close } => {
            Box::pin(plain::relay(client, tcp, early, half_close, meter, limits, gate))
        }
        Link::Sealed(sealed) => Box::pin(sealed::relay(client, sealed, meter, limits, gate)),
        Link::Stream { stream, half_close } => {
            Box::pin(generic::relay(client, stream, half_close, meter, limits, gate))
        }
    }
}

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
