//! HTTP CONNECT (RFC 9110, 9.3.6; RFC 9112, 3.2.3) over plain TCP, with Basic authentication
//! (RFC 7617).
//!
//! Any 2xx opens the tunnel. Of the others, 407 speaks of the credentials, every other 4xx of this
//! target (squid and tinyproxy answer a forbidden port by 403, some proxies an IPv6 literal by
//! 400), and most of 5xx of a destination that the proxy could not reach.
//!
//! The answer is read to the end of its header and not one byte further is interpreted: what
//! comes behind it already belongs to the destination and is handed on as `early`.

pub mod response;
pub(super) mod tunnel;

use super::credentials::Credentials;
use super::endpoint::Endpoint;
use super::server::ProxyServer;
use super::{BoxFuture, Error, HalfClose, Link, Progress, Proxy};
use crate::target::Target;
use tunnel::{Tunnel, request};

/// A proxy that speaks HTTP CONNECT.
#[derive(Debug)]
pub struct HttpConnect {
    server: ProxyServer,
    credentials: Option<Credentials>,
}

impl HttpConnect {
    /// A proxy at this server.
    pub fn new(server: ProxyServer, credentials: Option<Credentials>) -> Self {
        HttpConnect { server, credentials }
    }

    async fn dial(&self, target: &Target, progress: &Progress) -> Result<Link, Error> {
        let HttpConnect { server, credentials } = self;
        let credentials = credentials.as_ref();
        let mut tcp = server.dial(&request(target, credentials), progress).await?;
        let suspicion = "is it an HTTP proxy without TLS?";
        let early = Tunnel { server, target, credentials, suspicion }.answer(&mut tcp).await?;
        Ok(Link::Plain { tcp, early, half_close: HalfClose::Held })
    }
}

impl Proxy for HttpConnect {
    fn name(&self) -> &str {
        self.server.name()
    }

    fn connect<'a>(
        &'a self,
        target: &'a Target,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Link, Error>> {
        Box::pin(self.dial(target, progress))
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        Some(self.server.endpoint())
    }
}

#[cfg(test)]
mod tests;
