//! Opening a tunnel: what a proxy is asked, and what its answer means, whatever carries both.

use super::response::{self, Malformed, ParsedHeader, Response};
use crate::clock;
use crate::proxy::Error;
use crate::proxy::credentials::Credentials;
use crate::proxy::server::ProxyServer;
use crate::target::Target;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};
use zeroize::Zeroizing;

/// More than any proxy sends before the tunnel stands; a longer header is malformed.
const LONGEST_HEADER: usize = 16 * 1024;

/// Some proxies turn away whoever has no User-Agent, or one that is no browser's. A name of our own
/// would also tell everyone on the path who speaks.
pub(in crate::proxy) const USER_AGENT: &str = "Mozilla/5.0";

/// A tunnel that is wanted.
#[derive(Clone, Copy)]
pub(in crate::proxy) struct Tunnel<'a> {
    pub(in crate::proxy) server: &'a ProxyServer,
    pub(in crate::proxy) target: &'a Target,
    pub(in crate::proxy) credentials: Option<&'a Credentials>,
    /// What is likely of a server that closes the connection without an answer.
    pub(in crate::proxy) suspicion: &'static str,
}

impl Tunnel<'_> {
    /// Reads the answer over HTTP/1.x. Where the tunnel is open then, these are the first bytes of
    /// the destination.
    pub(in crate::proxy) async fn answer(
        self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Vec<u8>, Error> {
        self.rest_of_answer(Vec::with_capacity(1024), stream).await
    }

    /// The same, where so much of it has been received.
    pub(in crate::proxy) async fn rest_of_answer(
        self,
        mut received: Vec<u8>,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Vec<u8>, Error> {
        loop {
            match response::parse(&received) {
                Ok(ParsedHeader::Final(Response { status, line, length, schemes, date })) => {
                    date.as_deref().inspect(|date| clock::heard(date));
                    self.judge(status, line, &schemes)?;
                    return Ok(received.split_off(length));
                }
                // 1xx: the real answer is still to come (RFC 9110, 15.2).
                Ok(ParsedHeader::Interim { length }) => drop(received.drain(..length)),
                Ok(ParsedHeader::Incomplete) if received.len() < LONGEST_HEADER => {
                    self.read_more(stream, &mut received).await?;
                }
                Ok(ParsedHeader::Incomplete) => return Err(self.nonsense(&received)),
                Err(Malformed) => return Err(self.nonsense(&received)),
            }
        }
    }

    async fn read_more(
        self,
        stream: &mut (impl AsyncRead + Unpin),
        received: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let read = stream.read_buf(received).await;
        let read = read.map_err(|source| self.server.broke_off(source))?;
        if read > 0 {
            return Ok(());
        }
        if received.is_empty() {
            let what = format!("it closed the connection without an answer; {}", self.suspicion);
            let closed = io::Error::new(io::ErrorKind::UnexpectedEof, what);
            return Err(self.server.broke_off(closed));
        }
        Err(self.nonsense(received))
    }

    /// Whether a status opens the tunnel. `line` is the status for logs, `schemes` are those of the
    /// answer's challenges.
    pub(in crate::proxy) fn judge(
        self,
        status: u16,
        line: String,
        schemes: &[String],
    ) -> Result<(), Error> {
        let server = self.server.endpoint().to_string();
        match status {
            200..=299 => Ok(()),
            // tinyproxy says 401 to wrong credentials.
            401 | 407 => Err(self.unauthorized(server, line, schemes)),
            400..=499 => {
                let (port, target) = (self.target.port(), self.target.to_string());
                let hint = match port {
                    443 => String::new(),
                    port => format!("; does it allow CONNECT to port {port}?"),
                };
                Err(Error::Refused { server, target, status: line, hint })
            }
            // It knows no CONNECT, or not this version: another proxy may.
            501 | 505 => Err(Error::Protocol { server, expected: "HTTP CONNECT", found: line }),
            _ => Err(Error::Target { server, target: self.target.to_string(), status: line }),
        }
    }

    fn unauthorized(self, server: String, line: String, schemes: &[String]) -> Error {
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

    fn nonsense(self, received: &[u8]) -> Error {
        Error::Protocol {
            server: self.server.endpoint().to_string(),
            expected: "HTTP CONNECT",
            found: response::excerpt(received),
        }
    }
}

/// The whole request over HTTP/1.1; wiped after use, since it may hold the password.
pub(in crate::proxy) fn request(
    target: &Target,
    credentials: Option<&Credentials>,
) -> Zeroizing<Vec<u8>> {
    let mut request = Zeroizing::new(Vec::with_capacity(512));
    let line =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {USER_AGENT}\r\n");
    request.extend_from_slice(line.as_bytes());
    if let Some(credentials) = credentials {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(&basic(credentials));
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// The value of `Proxy-Authorization` (RFC 7617, 2).
pub(in crate::proxy) fn basic(credentials: &Credentials) -> Zeroizing<Vec<u8>> {
    let Credentials { username, password } = credentials;
    let mut pair = Zeroizing::new(Vec::with_capacity(128));
    pair.extend_from_slice(username.as_bytes());
    pair.push(b':');
    pair.extend_from_slice(password.expose());
    let encoded = Zeroizing::new(STANDARD.encode(&*pair));
    let mut value = Zeroizing::new(Vec::with_capacity(encoded.len() + 6));
    value.extend_from_slice(b"Basic ");
    value.extend_from_slice(encoded.as_bytes());
    value
}
