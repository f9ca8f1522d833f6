//! A way for datagrams: what [`Proxy::associate`](super::Proxy::associate) returns.
//!
//! One association serves one socket of a client, to every destination: all that it sends goes
//! through the same socket of ours, and what anybody sends there comes back (RFC 4787,
//! endpoint-independent mapping and filtering, as far as the server does its part). What a protocol
//! puts around a payload is its [`DatagramCodec`]'s business; sockets, batches and time-outs are
//! those of the relay (`crate::udp`).

use crate::target::Target;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::ops::Range;
use tokio::net::{TcpStream, UdpSocket};

/// A way for the datagrams of one client socket.
#[derive(Debug)]
pub struct Association {
    /// Marked, and connected to the server.
    pub socket: UdpSocket,
    /// What goes over it.
    pub codec: Box<dyn DatagramCodec>,
    /// The association lives for as long as this connection does; `None`: it has none.
    pub lifeline: Option<TcpStream>,
}

/// How a protocol wraps payloads. It has the state of one association: keys, counters, the
/// identities of the server's sessions.
pub trait DatagramCodec: Debug + Send {
    /// Appends to `packets` the packet that carries this payload to the target.
    ///
    /// # Errors
    /// It cannot be carried; `packets` is as it was.
    fn seal(
        &mut self,
        target: &Target,
        payload: &[u8],
        packets: &mut Vec<u8>,
    ) -> Result<(), Unsealable>;

    /// Opens a packet of the server in place.
    ///
    /// # Errors
    /// It is not the server's, or does not belong here: it is to be dropped and counted. The bytes
    /// are worthless then.
    fn open(&mut self, packet: &mut [u8]) -> Result<OpenedDatagram, Unopenable>;
}

/// Runs what appends a packet to `packets`, and takes back what a failure has left of it.
pub(super) fn whole_or_nothing(
    packets: &mut Vec<u8>,
    append: impl FnOnce(&mut Vec<u8>) -> Result<(), Unsealable>,
) -> Result<(), Unsealable> {
    let begin = packets.len();
    append(packets).inspect_err(|_| packets.truncate(begin))
}

/// A packet that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedDatagram {
    /// Who sent the payload.
    pub source: SocketAddr,
    /// Where the payload is in the packet.
    pub payload: Range<usize>,
}

impl OpenedDatagram {
    /// From `source`, which has to be an address: a reply cannot leave from a name.
    pub(super) fn of(source: Target, payload: Range<usize>) -> Result<Self, Unopenable> {
        match source {
            Target::Addr(source) => Ok(OpenedDatagram { source, payload }),
            Target::Name(..) | Target::Named { .. } => Err(Unopenable::Source),
        }
    }
}

/// Why a payload cannot be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    /// With what the protocol adds it is longer than a datagram can be.
    #[error("the datagram is too large for the proxy's protocol")]
    TooLarge,
    /// The protocol has no form for the target.
    #[error("the proxy's protocol cannot name this target")]
    Target,
    /// The association is used up, for example its counter of packets: a new one has to be made.
    #[error("the association is used up")]
    Spent,
}

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopenable {
    /// It does not authenticate, or is no packet of this protocol.
    #[error("the packet is not of this protocol and key")]
    Forged,
    /// It came before.
    #[error("the packet came before")]
    Replayed,
    /// What it says of time or session does not fit.
    #[error("the packet is not of this time or session")]
    Stale,
    /// It is a piece of a datagram, and pieces are not put together.
    #[error("the packet is a fragment")]
    Fragment,
    /// It names no address as its source.
    #[error("the packet names no address as its source")]
    Source,
}
