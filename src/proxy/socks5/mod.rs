//! SOCKS5 (RFC 1928): TCP by CONNECT, UDP by UDP ASSOCIATE, and user names with passwords (RFC
//! 1929).
//!
//! Every message waits for the answer to the one before. Sending them together would save a round
//! trip or two, but some servers (microsocks is one) drop what comes in the same segment as what
//! they are reading.
//!
//! What names no destination, the greeting and the credentials, may be said ahead of need
//! ([`super::warm`]).
//!
//! An association lives for as long as the connection that asked for it. That connection is never
//! half-closed: dante and sing-box take it for the end.

pub mod datagram;
pub mod message;
mod relay_address;

use super::association::Association;
use super::credentials::Credentials;
use super::endpoint::Endpoint;
use super::server::ProxyServer;
use super::warm::{DialledAhead, Warm, WarmRequest};
use super::{BoxFuture, Error, HalfClose, Link, Progress, Proxy};
use crate::target::Target;
use datagram::SocksDatagrams;
use message::{Choice, NotSocks, SocksCommand, SocksReply};
use relay_address::relay_address;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What errors call the protocol.
const SOCKS5: &str = "SOCKS5";

/// Its rules do not allow the target (RFC 1928, 6).
const NOT_ALLOWED: u8 = 2;
const COMMAND_NOT_SUPPORTED: u8 = 7;

/// A SOCKS5 server.
#[derive(Debug)]
pub struct Socks5 {
    greeter: Arc<Greeter>,
    carries_datagrams: bool,
    /// Those that were dialled ahead have been greeted.
    warm: Option<Warm<TcpStream>>,
}

/// What comes before any destination is named.
#[derive(Debug)]
struct Greeter {
    server: Arc<ProxyServer>,
    credentials: Option<Credentials>,
}

impl Socks5 {
    /// A server. `carries_datagrams`: it is said to carry UDP; else nothing asks it to.
    pub fn new(
        server: ProxyServer,
        credentials: Option<Credentials>,
        carries_datagrams: bool,
    ) -> Self {
        let greeter = Arc::new(Greeter { server: Arc::new(server), credentials });
        let ahead = Arc::clone(&greeter);
        let ahead = move || -> BoxFuture<'static, Result<TcpStream, Error>> {
            let greeter = Arc::clone(&ahead);
            Box::pin(async move {
                let tcp = greeter.server.dial_ahead(greeter.greeting()).await?;
                greeter.be_accepted(tcp).await
            })
        };
        let warm = Warm::of(&greeter.server, Box::new(ahead));
        Socks5 { greeter, carries_datagrams, warm }
    }

    async fn dial(&self, target: &Target, progress: &Progress) -> Result<Link, Error> {
        let (greeter, warm) = (&self.greeter, self.warm.as_ref());
        let request = greeter.request(SocksCommand::Connect, target)?;
        let ready = match WarmRequest::on(warm, progress) {
            Some(asking) => asking.first_of_answer(&request, |_| false).await,
            None => None,
        };
        let (mut tcp, first) = match ready {
            Some(ready) => ready,
            None => {
                let mut tcp = Warm::timing(warm, progress, greeter.greet(progress)).await?;
                greeter.send(&mut tcp, &request).await?;
                (tcp, Vec::new())
            }
        };
        let (reply, early) = greeter.reply(&mut tcp, first).await?;
        match reply.code {
            0 => Ok(Link::Plain { tcp, early, half_close: HalfClose::Held }),
            COMMAND_NOT_SUPPORTED => {
                Err(greeter.nonsense("no CONNECT: command not supported".into()))
            }
            code => {
                let server = greeter.server.endpoint().to_string();
                let (target, status) = (target.to_string(), said(code));
                Err(match code {
                    NOT_ALLOWED => Error::Refused { server, target, status, hint: String::new() },
                    _ => Error::Target { server, target, status },
                })
            }
        }
    }

    async fn make_association(&self) -> Result<Association, Error> {
        if !self.carries_datagrams {
            return Err(Error::NoDatagrams);
        }
        let (greeter, server) = (&self.greeter, &self.greeter.server);
        let mut tcp = greeter.greet(&Progress::default()).await?;
        let at = tcp.peer_addr().map_err(|source| server.broke_off(source))?;
        let anywhere = Target::Addr(anywhere(at));
        let request = greeter.request(SocksCommand::UdpAssociate, &anywhere)?;
        greeter.send(&mut tcp, &request).await?;
        let (reply, _) = greeter.reply(&mut tcp, Vec::new()).await?;
        if reply.code != 0 {
            let server = server.endpoint().to_string();
            return Err(Error::DatagramsRefused { server, status: said(reply.code) });
        }
        let relay = reply.bound.and_then(|bound| relay_address(&bound, at.ip()));
        let no_address = "UDP ASSOCIATE with no address for datagrams";
        let relay = relay.ok_or_else(|| greeter.nonsense(no_address.into()))?;
        let socket = server.datagrams_to(relay).await?;
        let codec = Box::new(SocksDatagrams);
        Ok(Association { socket, codec, lifeline: Some(tcp) })
    }
}

impl Greeter {
    /// Connects, and is accepted.
    async fn greet(&self, progress: &Progress) -> Result<TcpStream, Error> {
        self.be_accepted(self.server.dial(self.greeting(), progress).await?).await
    }

    fn greeting(&self) -> &'static [u8] {
        message::greeting(self.credentials.is_some())
    }

    /// The greeting has been sent.
    async fn be_accepted(&self, mut tcp: TcpStream) -> Result<TcpStream, Error> {
        let answer = self.read_two(&mut tcp).await?;
        let choice = message::choice(answer).map_err(|NotSocks| self.not_socks(&answer))?;
        let server = || self.server.endpoint().to_string();
        match (choice, &self.credentials) {
            (Choice::Open, _) => Ok(tcp),
            (Choice::Password, Some(credentials)) => {
                let broken = |source| self.server.broke_off(source);
                let message = message::credentials(credentials).map_err(broken)?;
                tcp.write_all(&message).await.map_err(broken)?;
                let answer = self.read_two(&mut tcp).await?;
                match message::is_accepted(answer) {
                    Ok(true) => Ok(tcp),
                    Ok(false) => {
                        let status = format!("status {}", answer[1]);
                        Err(Error::Credentials { server: server(), status })
                    }
                    Err(NotSocks) => Err(self.not_socks(&answer)),
                }
            }
            (Choice::None | Choice::Password, None) => {
                let status = "it accepts no client without".into();
                Err(Error::CredentialsMissing { server: server(), status })
            }
            (Choice::None, Some(_)) => {
                let (wanted, spoken) = ("another".into(), "none and user name with password");
                Err(Error::Authentication { server: server(), wanted, spoken })
            }
            (Choice::Other(wanted), _) => {
                let (wanted, spoken) = (wanted.into(), "none and user name with password");
                Err(Error::Authentication { server: server(), wanted, spoken })
            }
        }
    }

    fn request(&self, command: SocksCommand, target: &Target) -> Result<Vec<u8>, Error> {
        message::request(command, target).map_err(|source| self.server.broke_off(source))
    }

    async fn send(&self, tcp: &mut TcpStream, request: &[u8]) -> Result<(), Error> {
        tcp.write_all(request).await.map_err(|source| self.server.broke_off(source))
    }

    /// Reads the reply, of which so much has been received; what came behind it is the
    /// destination's.
    async fn reply(
        &self,
        tcp: &mut TcpStream,
        mut received: Vec<u8>,
    ) -> Result<(SocksReply, Vec<u8>), Error> {
        // Longer than any reply; a read takes no more, so it is bounded.
        received.reserve(512);
        loop {
            match message::reply(&received) {
                Ok(Some(reply)) => {
                    let early = received.split_off(reply.length);
                    return Ok((reply, early));
                }
                Ok(None) => {}
                Err(NotSocks) => return Err(self.not_socks(&received)),
            }
            let read = tcp.read_buf(&mut received).await;
            if read.map_err(|source| self.server.broke_off(source))? == 0 {
                return Err(self.server.broke_off(cut()));
            }
        }
    }

    async fn read_two(&self, tcp: &mut TcpStream) -> Result<[u8; 2], Error> {
        let mut answer = [0; 2];
        match tcp.read_exact(&mut answer).await {
            Ok(_) => Ok(answer),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.server.broke_off(cut()))
            }
            Err(error) => Err(self.server.broke_off(error)),
        }
    }

    fn not_socks(&self, received: &[u8]) -> Error {
        let start = &received[..received.len().min(16)];
        self.nonsense(format!("\"{}\"", start.escape_ascii()))
    }

    fn nonsense(&self, found: String) -> Error {
        Error::Protocol { server: self.server.endpoint().to_string(), expected: SOCKS5, found }
    }
}

/// From where the datagrams will come: that is not known, since a translator on the way may change
/// it. (dante wants it in a family that it listens in.)
fn anywhere(server: SocketAddr) -> SocketAddr {
    match server.ip().to_canonical() {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// What the server said, for the log.
fn said(code: u8) -> String {
    format!("{} (SOCKS5 reply {code})", message::meaning(code))
}

fn cut() -> io::Error {
    let text = "it closed the connection without an answer; is it a SOCKS5 proxy?";
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

impl Proxy for Socks5 {
    fn name(&self) -> &str {
        self.greeter.server.name()
    }

    fn connect<'a>(
        &'a self,
        target: &'a Target,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Link, Error>> {
        Box::pin(self.dial(target, progress))
    }

    fn associate(&self) -> BoxFuture<'_, Result<Association, Error>> {
        Box::pin(self.make_association())
    }

    fn carries_datagrams(&self) -> bool {
        self.carries_datagrams
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        Some(self.greeter.server.endpoint())
    }

    fn dialled_ahead(&self) -> Option<&dyn DialledAhead> {
        self.warm.as_ref().map(|warm| warm as &dyn DialledAhead)
    }
}

#[cfg(test)]
mod tests;
