//! A UDP flow.

use std::net::SocketAddr;

/// A UDP flow, by its first datagram as it was sent, before any translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who sent it.
    pub source: SocketAddr,
    /// Where it went; of the same family.
    pub destination: SocketAddr,
}
