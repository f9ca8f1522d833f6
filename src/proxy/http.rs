//! HTTP CONNECT (RFC 9110, 9.3.6). Not written yet.

use super::endpoint::Endpoint;
use super::{BoxFuture, Error, Link, Proxy};
use crate::net::Outbound;
use crate::secret::Secret;
use crate::target::Target;
use std::sync::Arc;

/// A proxy that speaks HTTP CONNECT.
#[derive(Debug)]
pub struct HttpConnect {
    name: String,
    endpoint: Arc<Endpoint>,
    outbound: Outbound,
    credentials: Option<Credentials>,
}

/// User name and password for Basic authentication (RFC 7617).
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user name; has no colon.
    pub username: String,
    /// The password.
    pub password: Secret,
}

impl HttpConnect {
    /// A proxy at `endpoint`.
    pub fn new(
        name: String,
        endpoint: Arc<Endpoint>,
        outbound: Outbound,
        credentials: Option<Credentials>,
    ) -> Self {
        HttpConnect { name, endpoint, outbound, credentials }
    }
}

impl Proxy for HttpConnect {
    fn name(&self) -> &str {
        &self.name
    }

    fn connect<'a>(&'a self, _target: &'a Target) -> BoxFuture<'a, Result<Link, Error>> {
        let _ = (&self.endpoint, &self.outbound, &self.credentials);
        Box::pin(async { Err(Error::Unresolved { host: "not written yet".into() }) })
    }
}
