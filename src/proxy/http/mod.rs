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

use super::credentials::Credentials;
use super::endpoint::Endpoint;
use super::server::ProxyServer;
use super::{BoxFuture, Error, HalfClose, Link, Progress, Proxy};
use crate::target::Target;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use response::{Malformed, ParsedHeader, Response};
use std::io;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

/// More than any proxy sends before the tunnel stands; a longer header is malformed.
const LONGEST_HEADER: usize = 16 * 1024;

/// Some proxies turn away whoever has no User-Agent, or one that is no browser's. A name of our own
/// would also tell everyone on the path who speaks.
const USER_AGENT: &str = "Mozilla/5.0";

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
        let request = request(target, self.credentials.as_ref());
        let mut tcp = self.server.dial(&request, progress).await?;
        let mut received = Vec::with_capacity(1024);
        loop {
            match response::parse(&received) {
                Ok(ParsedHeader::Final(response)) => {
                    return self.judge(target, tcp, received, response);
                }
                // 1xx: the real answer is still to come (RFC 9110, 15.2).
                Ok(ParsedHeader::Interim { length }) => drop(received.drain(..length)),
                Ok(ParsedHeader::Incomplete) if received.len() < LONGEST_HEADER => {
                    self.read_more(&mut tcp, &mut received).await?;
                }
                Ok(ParsedHeader::Incomplete) => return Err(self.nonsense(&received)),
                Err(Malformed) => return Err(self.nonsense(&received)),
            }
        }
    }

    async fn read_more(&self, tcp: &mut TcpStream, received: &mut Vec<u8>) -> Result<(), Error> {
        let read = tcp.read_buf(received).await.map_err(|source| self.server.broke_off(source))?;
        if read > 0 {
            return Ok(());
        }
        if received.is_empty() {
            let closed = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it closed the connection without an answer; is it an HTTP proxy without TLS?",
            );
            return Err(self.server.broke_off(closed));
        }
        Err(self.nonsense(received))
    }

    fn judge(
        &self,
        target: &Target,
        tcp: TcpStream,
        mut received: Vec<u8>,
        response: Response,
    ) -> Result<Link, Error> {
        let server = self.server.endpoint().to_string();
        match response.status {
            200..=299 => {
                let early = received.split_off(response.length);
                Ok(Link::Plain { tcp, early, half_close: HalfClose::Held })
            }
            // tinyproxy says 401 to wrong credentials.
            401 | 407 => Err(self.unauthorized(server, response)),
            400..=499 => {
                let (port, target) = (target.port(), target.to_string());
                let hint = match port {
                    443 => String::new(),
                    port => format!("; does it allow CONNECT to port {port}?"),
                };
                Err(Error::Refused { server, target, status: response.line, hint })
            }
            // It knows no CONNECT, or not this version: another proxy may.
            501 | 505 => {
                Err(Error::Protocol { server, expected: "HTTP CONNECT", found: response.line })
            }
            _ => Err(Error::Target { server, target: target.to_string(), status: response.line }),
        }
    }

    fn unauthorized(&self, server: String, Response { line, schemes, .. }: Response) -> Error {
        let speaks_basic = schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic"));
        if !schemes.is_empty() && !speaks_basic {
            let wanted = schemes.join(" or ");
            return Error::Authentication { server, wanted, spoken: "Basic" };
        }
        match self.credentials {
            Some(_) => Error::Credentials { server, status: line },
            None => Error::CredentialsMissing { server, status: line },
        }
    }

    fn nonsense(&self, received: &[u8]) -> Error {
        Error::Protocol {
            server: self.server.endpoint().to_string(),
            expected: "HTTP CONNECT",
            found: response::excerpt(received),
        }
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

/// The whole request; wiped after use, since it may hold the password.
fn request(target: &Target, credentials: Option<&Credentials>) -> Zeroizing<Vec<u8>> {
    let mut request = Zeroizing::new(Vec::with_capacity(512));
    let line =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {USER_AGENT}\r\n");
    request.extend_from_slice(line.as_bytes());
    if let Some(Credentials { username, password }) = credentials {
        let mut pair = Zeroizing::new(Vec::with_capacity(128));
        pair.extend_from_slice(username.as_bytes());
        pair.push(b':');
        pair.extend_from_slice(password.expose());
        let encoded = Zeroizing::new(STANDARD.encode(&*pair));
        request.extend_from_slice(b"Proxy-Authorization: Basic ");
        request.extend_from_slice(encoded.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

#[cfg(test)]
mod tests;
