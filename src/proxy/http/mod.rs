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
use super::warm::{DialledAhead, Warm, WarmRequest};
use super::{BoxFuture, Error, HalfClose, Link, Progress, Proxy};
use crate::target::Target;
use std::sync::Arc;
use tokio::net::TcpStream;
use tunnel::{Tunnel, request};

/// A proxy that speaks HTTP CONNECT.
#[derive(Debug)]
pub struct HttpConnect {
    server: Arc<ProxyServer>,
    credentials: Option<Credentials>,
    warm: Option<Warm<TcpStream>>,
}

impl HttpConnect {
    /// A proxy at this server.
    pub fn new(server: ProxyServer, credentials: Option<Credentials>) -> Self {
        let server = Arc::new(server);
        let warm = Warm::of_bare(&server);
        HttpConnect { server, credentials, warm }
    }

    async fn dial(&self, target: &Target, progress: &Progress) -> Result<Link, Error> {
        let HttpConnect { server, credentials, warm } = self;
        let credentials = credentials.as_ref();
        let request = request(target, credentials);
        let suspicion = "is it an HTTP proxy without TLS?";
        let tunnel = Tunnel { server, target, credentials, suspicion };
        if let Some(asking) = WarmRequest::on(warm.as_ref(), progress)
            && let Some((mut tcp, first)) =
                asking.first_of_answer(&request, response::is_timeout).await
        {
            let early = tunnel.rest_of_answer(first, &mut tcp).await?;
            return Ok(Link::Plain { tcp, early, half_close: HalfClose::Held });
        }
        let dial = server.dial(&request, progress);
        let mut tcp = Warm::timing(warm.as_ref(), progress, dial).await?;
        let early = tunnel.answer(&mut tcp).await?;
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

    fn dialled_ahead(&self) -> Option<&dyn DialledAhead> {
        self.warm.as_ref().map(|warm| warm as &dyn DialledAhead)
    }
}

#[cfg(test)]
mod tests;
