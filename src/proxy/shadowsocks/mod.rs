//! Shadowsocks AEAD over TCP (SIP004). Not written yet.

pub mod cipher;

use super::endpoint::Endpoint;
use super::{BoxFuture, Error, Link, Proxy};
use crate::net::Outbound;
use crate::secret::Secret;
use crate::target::Target;
pub use cipher::Method;
use std::sync::Arc;

/// A shadowsocks server.
#[derive(Debug)]
pub struct Shadowsocks {
    name: String,
    endpoint: Arc<Endpoint>,
    outbound: Outbound,
}

impl Shadowsocks {
    /// A server at `endpoint` with this cipher and password.
    pub fn new(
        name: String,
        endpoint: Arc<Endpoint>,
        outbound: Outbound,
        _method: Method,
        _password: &Secret,
    ) -> Self {
        Shadowsocks { name, endpoint, outbound }
    }
}

impl Proxy for Shadowsocks {
    fn name(&self) -> &str {
        &self.name
    }

    fn connect<'a>(&'a self, _target: &'a Target) -> BoxFuture<'a, Result<Link, Error>> {
        let _ = (&self.endpoint, &self.outbound);
        Box::pin(async { Err(Error::Unresolved { host: "not written yet".into() }) })
    }
}

/// A TCP connection to a shadowsocks server with the state of both directions; the address header
/// waits to be sent with the first payload.
#[derive(Debug)]
pub struct Sealed {}
