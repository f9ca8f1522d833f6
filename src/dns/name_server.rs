//! A name server to ask, and the language it is asked in.

use std::fmt;
use std::net::SocketAddr;

/// A name server; shown as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NameServer {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is asked.
    pub transport: Transport,
}

/// How a name server is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Transport {
    /// As its side is by default: UDP for domestic servers, TCP for trusted ones.
    Plain,
    /// `tcp://ip`
    Tcp,
    /// `tls://name@ip` (RFC 7858); the certificate has to be the name's.
    Tls {
        /// A domain name.
        name: String,
    },
    /// `https://name/path@ip` (RFC 8484); the certificate has to be the name's.
    Https {
        /// A domain name.
        name: String,
        /// With the leading slash.
        path: String,
    },
}

impl Transport {
    /// The port where such a server usually listens.
    pub fn port(&self) -> u16 {
        match self {
            Transport::Plain | Transport::Tcp => 53,
            Transport::Tls { .. } => 853,
            Transport::Https { .. } => 443,
        }
    }
}

impl From<SocketAddr> for NameServer {
    fn from(address: SocketAddr) -> Self {
        NameServer { address, transport: Transport::Plain }
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transport {
            Transport::Plain => {}
            Transport::Tcp => write!(f, "tcp://")?,
            Transport::Tls { name } => write!(f, "tls://{name}@")?,
            Transport::Https { name, path } => write!(f, "https://{name}{path}@")?,
        }
        if self.address.port() == self.transport.port() {
            write!(f, "{}", self.address.ip())
        } else {
            write!(f, "{}", self.address)
        }
    }
}
