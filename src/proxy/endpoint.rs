//! Where a proxy server is: a host and a port, and the addresses known for it.
//!
//! The resolver's bootstrap fills the addresses, the proxy only reads them. An endpoint given as
//! an address knows it from the start.

use super::Error;
use crate::net::Outbound;
use crate::sync::{AtomicU64, read, write};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::RwLock;
use std::sync::atomic::Ordering;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Notify;

/// A proxy server.
pub struct Endpoint {
    host: String,
    port: u16,
    addresses: RwLock<Vec<IpAddr>>,
    /// A dial failed.
    missed: Notify,
    /// How often the addresses have changed, or a dial has failed.
    turns: AtomicU64,
}

impl Endpoint {
    /// A server by host name or address literal (no brackets).
    pub fn new(host: &str, port: u16) -> Self {
        let literal = host.parse::<IpAddr>().ok();
        Endpoint {
            host: host.to_owned(),
            port,
            addresses: RwLock::new(literal.into_iter().collect()),
            missed: Notify::new(),
            turns: AtomicU64::new(0),
        }
    }

    /// The host as configured.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the host is a name, which has to be resolved.
    pub fn is_name(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// The addresses to dial, best first; empty while the name is not resolved.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let known = read(&self.addresses);
        known.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect()
    }

    /// Connects to the server and says `first` there (see [`Outbound::tcp_saying`]).
    ///
    /// # Errors
    /// No address is known, or none of them answers.
    pub(super) async fn dial(&self, outbound: &Outbound, first: &[u8]) -> Result<TcpStream, Error> {
        let missed = MissedOnDrop(Some(self));
        let dialled = self.dial_ahead(outbound, first).await;
        if dialled.is_ok() || matches!(dialled, Err(Error::Unresolved { .. })) {
            missed.disarm();
        }
        dialled
    }

    /// The same ahead of need: that it fails says nothing to others.
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    pub(super) async fn dial_ahead(
        &self,
        outbound: &Outbound,
        first: &[u8],
    ) -> Result<TcpStream, Error> {
        let addresses = self.addresses();
        if addresses.is_empty() {
            return Err(self.unresolved());
        }
        let failed = |source| Error::Dial { server: self.to_string(), source };
        outbound.tcp_saying(&addresses, first).await.map_err(failed)
    }

    /// Changes whenever a connection that stands may lead nowhere: a dial has failed, or there are
    /// other addresses.
    pub(super) fn turn(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// A UDP socket that is connected to the first address: nothing answers, so there is no telling
    /// which of several would.
    ///
    /// # Errors
    /// No address is known, or there is no way to it.
    pub(super) async fn datagrams(&self, outbound: &Outbound) -> Result<UdpSocket, Error> {
        let address = self.addresses().into_iter().next().ok_or_else(|| self.unresolved())?;
        outbound.datagrams(address).await.map_err(|source| {
            self.miss();
            Error::Dial { server: self.to_string(), source }
        })
    }

    fn unresolved(&self) -> Error {
        Error::Unresolved { host: self.host.clone() }
    }

    /// Says that nothing answers at the known addresses: perhaps there are new ones.
    pub fn miss(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.missed.notify_one();
    }

    /// Waits until a dial has failed: no address answered, or none did in time. One that failed
    /// before the wait began counts.
    pub async fn was_missed(&self) {
        self.missed.notified().await;
    }

    /// Replaces the known addresses; an empty list is ignored, since an old address is better
    /// than none. Returns whether anything changed.
    pub fn resolved(&self, addresses: Vec<IpAddr>) -> bool {
        if addresses.is_empty() {
            return false;
        }
        let mut known = write(&self.addresses);
        let changed = *known != addresses;
        *known = addresses;
        if changed {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
        changed
    }
}

/// A dial that is given up has failed too.
struct MissedOnDrop<'a>(Option<&'a Endpoint>);

impl MissedOnDrop<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for MissedOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(endpoint) = self.0 {
            endpoint.miss();
        }
    }
}

/// `host:port`, brackets around IPv6.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self} = {:?})", self.addresses())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_resolved_from_the_start() {
        let endpoint = Endpoint::new("2001:db8::1", 8388);
        assert!(!endpoint.is_name());
        assert_eq!(endpoint.addresses(), ["[2001:db8::1]:8388".parse().unwrap()]);
        assert_eq!(endpoint.to_string(), "[2001:db8::1]:8388");
    }

    #[tokio::test]
    async fn a_failed_dial_is_told_once() {
        use crate::mark::Fwmark;
        use crate::net::{Refusal, listen};
        use std::time::Duration;
        use tokio::time::timeout;
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let told = async |endpoint: &Endpoint| {
            timeout(Duration::from_millis(50), endpoint.was_missed()).await.is_ok()
        };
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let endpoint = Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port());
        endpoint.dial(&outbound, &[]).await.unwrap();
        assert!(!told(&endpoint).await);
        drop(listener);
        assert!(endpoint.dial(&outbound, &[]).await.is_err());
        assert!(endpoint.dial(&outbound, &[]).await.is_err());
        assert!(told(&endpoint).await && !told(&endpoint).await);
        // A dial that is given up.
        drop(timeout(Duration::ZERO, endpoint.dial(&outbound, &[])).await);
        assert!(told(&endpoint).await);
    }

    #[test]
    fn an_empty_answer_keeps_the_old_addresses() {
        let endpoint = Endpoint::new("ss.example.com", 8388);
        assert!(endpoint.addresses().is_empty());
        assert!(endpoint.resolved(vec!["192.0.2.1".parse().unwrap()]));
        assert!(!endpoint.resolved(vec![]));
        assert!(!endpoint.resolved(vec!["192.0.2.1".parse().unwrap()]));
        assert_eq!(endpoint.addresses(), ["192.0.2.1:8388".parse().unwrap()]);
    }
}
