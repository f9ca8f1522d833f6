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
    /// In a datagram to this address of ours.
    Datagram(SocketAddr),
    /// Over a connection, redirected from this address if from any; or in a datagram that was
    /// meant for us.
    Stream(Option<SocketAddr>),
}
