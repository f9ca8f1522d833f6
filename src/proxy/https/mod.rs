//! HTTP CONNECT over TLS.
//!
//! Theory of operation. Over TCP comes TLS ([`super::tls`]), over that CONNECT in the words of
//! HTTP/1.1, as [`super::http`] says and understands them. What the proxy is asked and what its
//! answers mean is the same, and so is the client's FIN, which is held.
//!
//! TLS says how a connection ends: by close_notify (RFC 8446, 6.1). An end of TCP without it may
//! come from anyone on the path, so it is an error, and the client gets a reset: a program that
//! reads until the end would take the file that was cut for whole.
//!
//! A dial pays a round trip for TCP, one for TLS 1.3 and one for CONNECT. The request does not ride
//! along with the client's end of the handshake for a round trip less: it holds the password, and
//! the server is not known before.

mod tls_tunnel;

use super::credentials::Credentials;
use super::endpoint::Endpoint;
use super::http::tunnel::{Tunnel, request};
use super::server::ProxyServer;
use super::tls::{Tls, Trust};
use super::{BoxFuture, Error, HalfClose, Link, Progress, Proxy};
use crate::target::Target;
use rustls::CertificateError::{
    Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
    NotValidYetContext, UnknownIssuer,
};
use rustls::{AlertDescription, CertificateError};
use std::io;
use tls_tunnel::TlsTunnel;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What is spoken inside of TLS (RFC 7301, 6).
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// Who the server of an HTTPS proxy has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsServer {
    /// The name that its certificate has to be for, and that it is told (SNI): a host name, or an
    /// address without brackets, which it is not told.
    pub name: String,
    /// What proves it.
    pub trust: Trust,
}

/// A proxy that speaks HTTP CONNECT over TLS.
#[derive(Debug)]
pub struct HttpsConnect {
    server: ProxyServer,
    credentials: Option<Credentials>,
    name: String,
    tls: Tls,
}

impl HttpsConnect {
    /// A proxy at this server.
    pub fn new(server: ProxyServer, tls: TlsServer, credentials: Option<Credentials>) -> Self {
        let TlsServer { name, trust } = tls;
        HttpsConnect { server, credentials, name, tls: Tls::trusting(&trust, &PROTOCOLS) }
    }

    async fn dial(&self, target: &Target, progress: &Progress) -> Result<Link, Error> {
        let tcp = self.server.dial(&[], progress).await?;
        let tls = self.tls.open(&self.name, tcp).await.map_err(|error| self.no_tls(error))?;
        self.over_http1(target, tls).await
    }

    async fn over_http1(
        &self,
        target: &Target,
        mut tls: TlsStream<TcpStream>,
    ) -> Result<Link, Error> {
        let HttpsConnect { server, credentials, .. } = self;
        let credentials = credentials.as_ref();
        let asked = async {
            tls.write_all(&request(target, credentials)).await?;
            tls.flush().await
        };
        asked.await.map_err(|source| self.broke_off(source))?;
        let suspicion = "is it an HTTP proxy?";
        let early = Tunnel { server, target, credentials, suspicion }.answer(&mut tls).await;
        let stream = Box::new(TlsTunnel::new(tls, early?));
        Ok(Link::Stream { stream, half_close: HalfClose::Held })
    }

    /// The error of a connection that ended while the tunnel was asked for. With TLS 1.3 a server
    /// that wants a certificate of the client says so only now.
    fn broke_off(&self, source: io::Error) -> Error {
        match source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
            true => self.no_tls(source),
            false => self.server.broke_off(source),
        }
    }

    fn no_tls(&self, source: io::Error) -> Error {
        let Some(cause) = source.get_ref().and_then(|inner| inner.downcast_ref()) else {
            return self.server.broke_off(source);
        };
        let hint = hint(cause);
        let found = match cause {
            // What rustls prints of it is for developers.
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                other.0.to_string()
            }
            cause => cause.to_string(),
        };
        Error::Tls { server: self.server.endpoint().to_string(), found, hint }
    }
}

/// What the operator may look at.
fn hint(cause: &rustls::Error) -> &'static str {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    match cause {
        InvalidCertificate(UnknownIssuer) => {
            "; if the server signs its own certificates, give this [[proxy]] tls-ca-file or tls-pin"
        }
        InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "; give this [[proxy]] tls-name, a name that the certificate has"
        }
        InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        ) => "; is the clock of this machine right?",
        InvalidMessage(_) => "; does it speak TLS? A proxy without it is of type = \"http\"",
        AlertReceived(AlertDescription::CertificateRequired) => {
            "; snet has no certificate of its own to show: let the server ask for a password"
        }
        AlertReceived(AlertDescription::UnrecognisedName) => {
            "; give this [[proxy]] tls-name, the name that the server goes by"
        }
        _ => "",
    }
}

impl Proxy for HttpsConnect {
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
