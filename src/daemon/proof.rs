//! The proof that the rules capture: a connection and a query of our own take the way of every
//! program's, through all programs' hooks and our very redirect, and come back with our answer.
//! Where foreign UDP is captured, so does a datagram, on its own way.
//!
//! They go to an address that our rules redirect at any time ([`crate::probe`]), from sockets
//! without our mark ([`net::probe`](crate::net::probe)). Only this process knows what they are
//! answered with ([`Token`]), so that another program's redirect is no proof.

use crate::dns;
use crate::family::Family;
use crate::inbound::tcp::Inbound;
use crate::inbound::token::Token;
use crate::net::{self, is_no_memory_or_descriptor};
use crate::probe;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How long an answer may take. One late answer costs one beat of three.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);

/// How packets come to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaptureWay {
    /// Connections and queries, by a redirect.
    Redirect,
    /// Other foreign UDP, by TPROXY.
    Datagrams,
}

impl CaptureWay {
    /// What it captures, in words.
    pub(super) fn subject(self, family: Family) -> String {
        match self {
            CaptureWay::Redirect => family.to_string(),
            CaptureWay::Datagrams => format!("{family} UDP"),
        }
    }
}

/// What a round has found of one way of one family.
#[derive(Debug)]
pub(super) enum Finding {
    /// What is sent arrives.
    Captured,
    /// There is no route in this family, so there is nothing to capture.
    NoRoute,
    /// The proof cannot even be sent, for example because a route leads its address into nothing.
    Unprovable(io::Error),
    /// They do not.
    Broken(ProofFailure),
}

/// What does not arrive, and why.
#[derive(Debug)]
pub(super) struct ProofFailure {
    pub(super) what: ProofPart,
    pub(super) error: io::Error,
}

/// What is sent, and what answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProofPart {
    /// A connection through the redirect.
    Connection,
    /// A query through the redirect.
    Query,
    /// A datagram by way of TPROXY.
    Datagram,
    /// The accept loop, asked without a redirect.
    AcceptLoop,
    /// The resolver, asked without a redirect.
    Resolver,
    /// The listener of captured UDP, asked directly.
    UdpListener,
}

/// What proves.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    token: Token,
    inbound: Arc<Inbound>,
}

impl Proof {
    pub(super) fn new(token: Token, inbound: Arc<Inbound>) -> Self {
        Proof { token, inbound }
    }

    /// Proves this way of this family.
    pub(super) async fn of(&self, way: CaptureWay, family: Family) -> Finding {
        match way {
            CaptureWay::Redirect => self.of_redirect(family).await,
            CaptureWay::Datagrams => self.of_datagrams(family).await,
        }
    }

    async fn of_datagrams(&self, family: Family) -> Finding {
        let to = SocketAddr::new(probe::address(family), probe::UDP_PORT);
        let socket = match way_to(to, ProofPart::Datagram) {
            Ok(socket) => socket,
            Err(found) => return found,
        };
        match bounded(self.datagram(&socket)).await {
            Ok(()) => Finding::Captured,
            Err(error) => Finding::Broken(ProofFailure { what: ProofPart::Datagram, error }),
        }
    }

    /// Sends a connection and a query, at the same time.
    async fn of_redirect(&self, family: Family) -> Finding {
        let to = |port| SocketAddr::new(probe::address(family), port);
        let socket = match way_to(to(probe::DNS_PORT), ProofPart::Query) {
            Ok(socket) => socket,
            Err(found) => return found,
        };
        let (connected, answered) = tokio::join!(
            bounded(self.connection(to(probe::TCP_PORT))),
            bounded(self.query(&socket, probe::address(family)))
        );
        match (connected, answered) {
            (Ok(()), Ok(())) => Finding::Captured,
            (Err(error), _) => Finding::Broken(ProofFailure { what: ProofPart::Connection, error }),
            (_, Err(error)) => Finding::Broken(ProofFailure { what: ProofPart::Query, error }),
        }
    }

    async fn connection(&self, to: SocketAddr) -> io::Result<()> {
        let asked = async {
            let mut stream = net::probe::tcp(to).await?;
            let mut said = Vec::new();
            let limit = self.token.text().len() as u64;
            (&mut stream).take(limit).read_to_end(&mut said).await?;
            // So that neither end keeps a TIME_WAIT.
            net::reset(stream);
            Ok::<_, io::Error>(said)
        };
        match asked.await {
            // Where connections are short newcomers are reset: full is not hung.
            Err(error)
                if error.kind() == io::ErrorKind::ConnectionReset && self.inbound.is_short() =>
            {
                Ok(())
            }
            Err(error) => Err(error),
            Ok(said) if said == self.token.text().as_bytes() => Ok(()),
            Ok(_) => Err(somebody_else()),
        }
    }

    async fn query(&self, socket: &UdpSocket, address: IpAddr) -> io::Result<()> {
        let mut answer = [0; 512];
        let length = asked(socket, &question(&self.token, address), &mut answer).await?;
        let ours = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        match answer.get(..length) {
            Some(answer) if answer.ends_with(&ours) => Ok(()),
            _ => Err(somebody_else()),
        }
    }

    async fn datagram(&self, socket: &UdpSocket) -> io::Result<()> {
        let mut answer = [0; 64];
        let length = asked(socket, &[0], &mut answer).await?;
        match answer.get(..length) {
            Some(answer) if answer == self.token.text().as_bytes() => Ok(()),
            _ => Err(somebody_else()),
        }
    }
}

/// A socket that asks there.
fn way_to(to: SocketAddr, what: ProofPart) -> Result<UdpSocket, Finding> {
    net::probe::udp(to).map_err(|error| {
        if is_no_memory_or_descriptor(&error) {
            Finding::Broken(ProofFailure { what, error })
        } else if is_no_way_out(&error) {
            Finding::NoRoute
        } else {
            Finding::Unprovable(error)
        }
    })
}

/// Asks, and once more if no answer comes: a burst may fill the queue and cost one datagram.
pub(super) async fn asked(
    socket: &UdpSocket,
    question: &[u8],
    answer: &mut [u8],
) -> io::Result<usize> {
    socket.send(question).await?;
    match timeout(PATIENCE / 2, socket.recv(answer)).await {
        Ok(length) => length,
        Err(_) => {
            socket.send(question).await?;
            socket.recv(answer).await
        }
    }
}

/// The proof's name, of the type of this address, recursion desired.
fn question(token: &Token, address: IpAddr) -> Vec<u8> {
    let mut query = b"\x70\x75\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    for label in dns::proof_name(token.text()).split('.') {
        // A label has at most 63 bytes.
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    let kind = if address.is_ipv4() { 1 } else { 28 };
    query.extend([0, 0, kind, 0, 1]);
    query
}

/// ENETUNREACH: no route. EADDRNOTAVAIL: no address of this family. EAFNOSUPPORT: not the family.
fn is_no_way_out(error: &io::Error) -> bool {
    use nix::libc::{EADDRNOTAVAIL, EAFNOSUPPORT, ENETUNREACH};
    let none = [ENETUNREACH, EADDRNOTAVAIL, EAFNOSUPPORT];
    error.raw_os_error().is_some_and(|number| none.contains(&number))
}

fn somebody_else() -> io::Error {
    io::Error::other("another program answers: its redirect stands before snet's")
}

pub(super) async fn bounded(probe: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(PATIENCE, probe).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl ProofFailure {
    /// The same, for another family.
    pub(super) fn again(&self) -> ProofFailure {
        let error = io::Error::new(self.error.kind(), self.error.to_string());
        ProofFailure { what: self.what, error }
    }
}

impl fmt::Display for ProofFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self.error.kind() {
            io::ErrorKind::TimedOut => "no answer".to_owned(),
            _ => self.error.to_string(),
        };
        match self.what {
            ProofPart::Connection => write!(f, "redirected connections do not arrive ({error})"),
            ProofPart::Query => write!(f, "redirected queries are not answered ({error})"),
            ProofPart::Datagram => write!(f, "captured UDP is not answered ({error})"),
            ProofPart::UdpListener => write!(f, "the listener of UDP does not answer ({error})"),
            ProofPart::AcceptLoop => write!(f, "the redirect port does not answer ({error})"),
            ProofPart::Resolver => write!(f, "the resolver does not answer ({error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::Query;

    #[test]
    fn the_question_is_one() {
        let token = Token::new().unwrap();
        for (address, kind) in [("192.0.0.8", 1), ("100::8", 28)] {
            let query = Query::parse(&question(&token, address.parse().unwrap())).unwrap();
            assert_eq!(query.qtype(), kind);
            let name = query.to_name().unwrap().to_string();
            assert_eq!(name.trim_end_matches('.'), dns::proof_name(token.text()));
        }
    }
}
