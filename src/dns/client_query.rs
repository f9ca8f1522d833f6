//! A query as a client sent it.

use super::wire::Query;
use std::net::SocketAddr;
use std::time::Instant;

/// A query, and how it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientQuery<'a> {
    pub(super) query: &'a Query,
    /// Bytes that the client takes.
    pub(super) limit: usize,
    pub(super) client: SocketAddr,
    pub(super) came: Came,
    pub(super) at: Instant,
}

/// How a query came in. The server that it was meant for can be told from that.
#[derive(Clone, Copy, Debug)]
pub(super) enum Came {
    /// In a datagram that was redirected to this address of ours, perhaps from another server's:
    /// conntrack knows.
    Datagram(SocketAddr),
    /// Over a connection that was redirected from this server's address.
    Redirected(SocketAddr),
    /// In a datagram that was meant for us.
    DatagramToUs,
    /// Over a connection that was meant for us, or for nobody known.
    ToUs,
}
