//! The daemon's listeners, asked without a redirect: whether connections are accepted and names
//! answered.

use crate::daemon::proof::{ProofFailure, ProofPart, asked, bounded};
use crate::family::Family;
use crate::inbound::token::Token;
use crate::net::Outbound;
use crate::task::JoinSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::AsyncReadExt;

/// `localhost. A IN`, recursion desired: the resolver answers it by itself.
const QUESTION: &[u8] =
    b"\x70\x75\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09localhost\x00\x00\x01\x00\x01";

/// Where the daemon listens.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct Listeners {
    pub(in crate::daemon) outbound: Outbound,
    pub(in crate::daemon) addresses: Vec<IpAddr>,
    /// `--dns-only` has none.
    pub(in crate::daemon) tcp: Option<u16>,
    pub(in crate::daemon) dns: u16,
    /// Where captured UDP is taken to, and what it is asked with; `None`: nothing listens.
    pub(in crate::daemon) datagrams: Option<(u16, Token)>,
}

impl Listeners {
    /// Whether the accept loop and the resolver answer, at any address that is listened on.
    pub(super) async fn answer(&self) -> Result<(), ProofFailure> {
        let mut asked = JoinSet::new();
        for address in self.addresses.iter().copied() {
            let listeners = self.clone();
            asked.spawn(async move { listeners.answer_at(reachable(address)).await });
        }
        let mut silent = None;
        while let Some(answered) = asked.join_next().await {
            match answered {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(broken)) => silent = silent.or(Some(broken)),
                Err(panic) => {
                    let error = io::Error::other(panic);
                    silent = silent.or(Some(ProofFailure { what: ProofPart::Resolver, error }));
                }
            }
        }
        silent.map_or(Ok(()), Err)
    }

    /// Whether the listener of captured UDP answers, of any family.
    pub(super) async fn answer_datagrams(&self) -> Result<(), ProofFailure> {
        let Some((port, token)) = &self.datagrams else { return Ok(()) };
        let ask = async |family: Family| {
            let address = SocketAddr::new(family.loopback(), *port);
            bounded(self.udp_listener(address, token)).await
        };
        match tokio::join!(ask(Family::V4), ask(Family::V6)) {
            (Ok(()), _) | (_, Ok(())) => Ok(()),
            (Err(error), _) => Err(ProofFailure { what: ProofPart::UdpListener, error }),
        }
    }

    async fn udp_listener(&self, address: SocketAddr, token: &Token) -> io::Result<()> {
        let socket = self.outbound.udp(address).await?;
        asked(&socket, token.text().as_bytes(), &mut [0; 64]).await.map(drop)
    }

    async fn answer_at(&self, address: IpAddr) -> Result<(), ProofFailure> {
        let at = |port| SocketAddr::new(address, port);
        let accepts = async {
            match self.tcp {
                Some(port) => bounded(self.accept_loop(at(port))).await,
                None => Ok(()),
            }
        };
        let (accepts, resolves) = tokio::join!(accepts, bounded(self.resolver(at(self.dns))));
        accepts.map_err(|error| ProofFailure { what: ProofPart::AcceptLoop, error })?;
        resolves.map_err(|error| ProofFailure { what: ProofPart::Resolver, error })
    }

    /// A connection that was not redirected is turned away: that it is tells that connections are
    /// accepted and served.
    async fn accept_loop(&self, address: SocketAddr) -> io::Result<()> {
        let asked = async {
            let mut stream = self.outbound.tcp(&[address]).await?;
            stream.read(&mut [0]).await
        };
        match asked.await {
            Err(error) if !was_turned_away(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn resolver(&self, address: SocketAddr) -> io::Result<()> {
        let socket = self.outbound.udp(address).await?;
        asked(&socket, QUESTION, &mut [0; 512]).await.map(drop)
    }
}

/// A reset is the answer, and may come before the dial has set its options: they fail then
/// (setsockopt(2) EINVAL, getpeername(2) ENOTCONN). "Refused" is no answer: nothing listens.
fn was_turned_away(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionReset | InvalidInput | NotConnected)
}

/// An address to reach a listener at; a wildcard has none of its own.
fn reachable(listening: IpAddr) -> IpAddr {
    match listening {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}
