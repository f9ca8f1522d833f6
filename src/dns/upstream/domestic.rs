//! A domestic server: asked over UDP, unless the operator wants a connection.

use super::kept::{Dialler, Kept};
use crate::dns::name_server::{NameServer, Transport};
use std::net::SocketAddr;
use std::rc::Rc;

/// A domestic server.
#[derive(Clone, Debug)]
pub(in crate::dns) enum Domestic {
    /// A socket for each question.
    Datagrams(SocketAddr),
    /// One connection for all.
    Kept(Rc<Kept>),
}

impl Domestic {
    /// Nothing is dialled yet. Runs on the calling thread's `LocalSet`.
    pub(in crate::dns) fn new(server: &NameServer, dialler: &Dialler) -> Self {
        match server.transport {
            Transport::Plain => Domestic::Datagrams(server.address),
            _ => Domestic::Kept(Rc::new(Kept::new(server.clone(), dialler.clone()))),
        }
    }
}
