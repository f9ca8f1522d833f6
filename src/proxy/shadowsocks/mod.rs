//! Shadowsocks AEAD (SIP004, <https://shadowsocks.org/doc/aead.html>): over TCP here, over UDP in
//! [`datagram`].
//!
//! Each direction is a salt and then chunks. A chunk is the sealed length of its payload (two
//! bytes, big-endian, at most 0x3FFF) with a tag, then the sealed payload with a tag. The first
//! payload to the server begins with the address of the destination.
//!
//! The server answers nothing at the start: a dial succeeds once TCP stands. The address header
//! waits for the client's first bytes, so that both leave in one packet: less for an observer to
//! recognise, and one round of sealing less. With Fast Open it leaves in the SYN instead.

pub mod cipher;
pub mod datagram;
pub mod opener;
pub mod sealer;
pub mod stream;

use super::association::Association;
use super::endpoint::Endpoint;
use super::server::ProxyServer;
use super::{BoxFuture, Error, Link, Progress, Proxy, address};
use crate::secret::Secret;
use crate::target::Target;
use cipher::{MasterKey, Method};
use datagram::SaltedDatagrams;
use opener::Opener;
use sealer::Sealer;
use std::io;
use tokio::net::TcpStream;

/// The longest payload of a chunk (SIP004: the two upper bits of the length are reserved).
pub const LONGEST_PAYLOAD: usize = 0x3FFF;

/// A shadowsocks server.
#[derive(Debug)]
pub struct Shadowsocks {
    server: ProxyServer,
    key: MasterKey,
    carries_datagrams: bool,
}

/// A TCP connection to a shadowsocks server with the state of both directions; no payload has been
/// sent yet.
#[derive(Debug)]
pub struct Sealed {
    /// The connection.
    pub tcp: TcpStream,
    /// Towards the server.
    pub sealer: Sealer,
    /// From the server.
    pub opener: Opener,
    /// The destination's address: the first bytes of the first payload. Empty: it is on its way.
    pub header: Vec<u8>,
}

impl Shadowsocks {
    /// A server with this cipher and password.
    pub fn new(server: ProxyServer, method: Method, password: &Secret) -> Self {
        let key = MasterKey::new(method, password);
        Shadowsocks { server, key, carries_datagrams: false }
    }

    /// Whether the server is said to carry UDP; else nothing asks it to.
    #[must_use]
    pub fn carrying_datagrams(self, carries_datagrams: bool) -> Self {
        Shadowsocks { carries_datagrams, ..self }
    }

    async fn make_association(&self) -> Result<Association, Error> {
        if !self.carries_datagrams {
            return Err(Error::NoDatagrams { proxy: self.name().to_owned() });
        }
        let socket = self.server.datagrams().await?;
        let codec = Box::new(SaltedDatagrams::new(self.key.clone()));
        Ok(Association { socket, codec, lifeline: None })
    }

    async fn dial(&self, target: &Target, progress: &Progress) -> Result<Link, Error> {
        let broken = |source| self.server.broke_off(source);
        let mut header = address::encode(target).map_err(broken)?;
        let mut sealer = Sealer::new(&self.key).map_err(broken)?;
        let mut first = Vec::new();
        if self.server.opens_fast() {
            // No byte of the client waits yet: the header goes ahead, in the SYN.
            first = sealed(&mut sealer, &std::mem::take(&mut header)).map_err(broken)?;
        }
        let tcp = self.server.dial(&first, progress).await?;
        let opener = Opener::new(self.key.clone());
        Ok(Link::Sealed(Box::new(Sealed { tcp, sealer, opener, header })))
    }
}

/// The header as a chunk of its own, behind the salt.
fn sealed(sealer: &mut Sealer, header: &[u8]) -> io::Result<Vec<u8>> {
    let mut memory = vec![0; sealer::memory(1)];
    let filled = sealer::place(&mut memory, 0, header);
    let run = sealer.seal(&mut memory, filled)?;
    Ok(memory[run].to_vec())
}

impl Proxy for Shadowsocks {
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

    fn associate(&self) -> BoxFuture<'_, Result<Association, Error>> {
        Box::pin(self.make_association())
    }

    fn carries_datagrams(&self) -> bool {
        self.carries_datagrams
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        Some(self.server.endpoint())
    }

    fn is_heard_at_the_dial(&self) -> bool {
        false
    }
}

/// What a direction that breaks the protocol becomes for the layers above.
fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
