//! A domestic server: asked over UDP, unless the operator wants a connection.

use super::persistent::{Dialler, PersistentConnection};
use crate::dns::name_server::{NameServer, Transport};
use std::net::SocketAddr;
use std::rc::Rc;

/// A domestic server.
#[derive(Clone, Debug)]
pub(in crate::dns) enum DomesticServer {
    /// From the sockets of [`QuestionSockets`](super::sockets::QuestionSockets).
    Udp(SocketAddr),
    /// One connection for all.
    Persistent(Rc<PersistentConnection>),
}

impl DomesticServer {
    /// Nothing is dialled yet. Runs on the calling thread's `LocalSet`.
    pub(in crate::dns) fn new(server: &NameServer, dialler: &Dialler) -> Self {
        match server.transport {
            Transport::Plain => DomesticServer::Udp(server.address),
            _ => DomesticServer::Persistent(Rc::new(PersistentConnection::new(
                server.clone(),
                dialler.clone(),
            ))),
        }
    }
    /// Where it is.
    pub(in crate::dns) fn address(&self) -> SocketAddr {
        match self {
            DomesticServer::Udp(address) => *address,
            DomesticServer::Persistent(connection) => connection.server().address,
        }
    }
}
