//! Shadowsocks: AEAD (SIP004, <https://shadowsocks.org/doc/aead.html>) and 2022 (SIP022,
//! <https://github.com/Shadowsocks-NET/shadowsocks-specs>), over TCP here, over UDP in
//! [`datagram`] and [`sessions`].
//!
//! Each direction is a salt and then chunks. A chunk is the sealed length of its payload (two
//! bytes, big-endian) with a tag, then the sealed payload with a tag. The first payload to the
//! server begins with the address of the destination. In SIP022 a header ([`header`]) precedes the
//! first payload and has its length.
//!
//! The server answers nothing at the start: a dial succeeds once TCP stands. The address waits for
//! the client's first bytes, so that both leave in one packet: less for an observer to recognise,
//! and one round of sealing less. With Fast Open it leaves in the SYN instead. On a connection that
//! was dialled ahead ([`super::warm`]) they reach the server after half a round trip.

pub mod cipher;
pub mod datagram;
pub mod opener;
pub mod sealer;
pub mod server;
pub mod sessions;
pub mod stream;

mod header;

use super::association::{Association, DatagramCodec};
use super::endpoint::Endpoint;
use super::server::ProxyServer;
use super::warm::{DialledAhead, Warm};
use super::{BoxFuture, Error, HalfClose, Link, Progress, Proxy};
use crate::clock::{self, ClockError};
use crate::target::Target;
use cipher::master_key::MasterKey;
use cipher::method::Edition;
use datagram::SaltedDatagrams;
use opener::Opener;
use sealer::Sealer;
use sessions::SessionDatagrams;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How long the destination's address waits for the client's first bytes once the dial has
/// succeeded. A program that speaks first has sent them by now; a server that speaks first is not
/// delayed more than this.
pub const FIRST_PAYLOAD: Duration = Duration::from_millis(5);

/// A shadowsocks server.
#[derive(Debug)]
pub struct Shadowsocks {
    server: Arc<ProxyServer>,
    key: MasterKey,
    carries_datagrams: bool,
    warm: Option<Warm<TcpStream>>,
}

/// A TCP connection to a shadowsocks server with the state of both directions; no payload has been
/// sent yet.
#[derive(Debug)]
pub struct Sealed {
    /// The connection.
    pub tcp: TcpStream,
    /// Towards the server. The destination's address stands before the first payload, unless it is
    /// on its way.
    pub sealer: Sealer,
    /// From the server.
    pub opener: Opener,
    /// What becomes of the client's FIN.
    pub half_close: HalfClose,
}

impl Shadowsocks {
    /// A server with this method and password.
    pub fn new(server: ProxyServer, key: MasterKey) -> Self {
        let server = Arc::new(server);
        let warm = Warm::of_bare(&server);
        Shadowsocks { server, key, carries_datagrams: false, warm }
    }

    /// Whether the server is said to carry UDP; else nothing asks it to.
    #[must_use]
    pub fn carrying_datagrams(self, carries_datagrams: bool) -> Self {
        Shadowsocks { carries_datagrams, ..self }
    }

    async fn make_association(&self) -> Result<Association, Error> {
        if !self.carries_datagrams {
            return Err(Error::NoDatagrams);
        }
        let socket = self.server.datagrams().await?;
        let codec: Box<dyn DatagramCodec> = match self.key.method().edition() {
            Edition::Sip004 => Box::new(SaltedDatagrams::new(self.key.clone())),
            Edition::Sip022 => {
                let broken = |source| self.server.broke_off(source);
                Box::new(SessionDatagrams::new(&self.key).map_err(broken)?)
            }
        };
        Ok(Association { socket, codec, lifeline: None })
    }

    async fn dial(&self, target: &Target, progress: &Progress) -> Result<Link, Error> {
        let broken = |source| self.server.broke_off(source);
        let mut sealer = Sealer::request(&self.key, target).map_err(broken)?;
        let opener = Opener::answer(self.key.clone(), &sealer);
        let mut first = Vec::new();
        if self.server.opens_fast() {
            // No byte of the client waits yet: the address goes ahead, in the SYN.
            first = sealed_first(&mut sealer, &[]).map_err(broken)?;
        }
        let tcp = match self.warm.as_ref().and_then(|warm| warm.take(progress)) {
            Some(tcp) => {
                self.warm.iter().for_each(Warm::was_of_use);
                progress.connection_was_ready();
                tcp
            }
            None => {
                let dial = self.server.dial(&first, progress);
                Warm::timing(self.warm.as_ref(), progress, dial).await?
            }
        };
        let half_close = self.server.half_close();
        Ok(Link::Sealed(Box::new(Sealed { tcp, sealer, opener, half_close })))
    }
}

impl Sealed {
    /// Sends the client's first bytes, with what stands before them; none of them: that alone.
    ///
    /// # Errors
    /// They are more than [`LONGEST_FIRST`]; what write(2) says.
    pub async fn send_first(&mut self, payload: &[u8]) -> io::Result<()> {
        let run = sealed_first(&mut self.sealer, payload)?;
        self.tcp.write_all(&run).await
    }
}

/// So many bytes leave as the first at most.
pub const LONGEST_FIRST: usize = sealer::LONGEST_PAYLOAD;

/// What stands before the first payload, and that payload.
fn sealed_first(sealer: &mut Sealer, payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut memory = vec![0; sealer::memory(2)];
    let lead = sealer.lead(&mut memory);
    let filled = lead + sealer::place(&mut memory, lead, payload);
    if filled < lead + payload.len() {
        return Err(invalid("the first payload is longer than what is sent at once"));
    }
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

    fn was_unanswered(&self) {
        self.server.was_unanswered();
    }

    fn dialled_ahead(&self) -> Option<&dyn DialledAhead> {
        self.warm.as_ref().map(|warm| warm as &dyn DialledAhead)
    }

    fn suspicion_of_silence(&self) -> String {
        suspicion(self.key.method().edition(), clock::error())
    }

    fn is_heard_at_the_dial(&self) -> bool {
        false
    }
}

/// What may be wrong with a server that says nothing, where so much is known of our clock.
fn suspicion(edition: Edition, clock: Option<ClockError>) -> String {
    const TOLERANCE: Duration = Duration::from_secs(header::TOLERANCE);
    match (edition, clock) {
        (Edition::Sip004, _) => "is the password or the method wrong?".into(),
        (Edition::Sip022, None) => format!(
            "is the key or the method wrong, or do the clocks of this machine and of the server \
             differ by more than {} s?",
            header::TOLERANCE
        ),
        (Edition::Sip022, Some(error)) if error.size() >= TOLERANCE => format!(
            "{error}, as others on the net say, and shadowsocks 2022 allows {} s: set it",
            header::TOLERANCE
        ),
        (Edition::Sip022, Some(_)) => {
            "is the key or the method wrong? (This machine's clock is right; is the server's?)"
                .into()
        }
    }
}

/// What a direction that breaks the protocol becomes for the layers above.
fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
