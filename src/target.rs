//! Where a connection wants to go.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A destination: an address, a host name, or both, with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address, as the kernel reports it for a redirected connection. Never an IPv4-mapped
    /// IPv6 address: see [`Target::addr`].
    Addr(SocketAddr),
    /// A host name (1 to 255 bytes, no trailing dot) that the upstream is to resolve.
    Name(Box<str>, u16),
    /// An address, and the host name by which the client found it. The address decides where the
    /// connection goes and is dialled directly; a proxy is told the name, for those that refuse
    /// bare addresses, and so that it picks the host that is nearest to it.
    Named {
        /// As in [`Target::Addr`].
        address: SocketAddr,
        /// As in [`Target::Name`].
        name: Box<str>,
    },
}

impl Target {
    /// A target by address; `::ffff:a.b.c.d` becomes `a.b.c.d` (RFC 4291, 2.5.5.2).
    pub fn addr(address: SocketAddr) -> Self {
        Target::Addr(canonical(address))
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        match self {
            Target::Addr(address) | Target::Named { address, .. } => address.port(),
            Target::Name(_, port) => *port,
        }
    }

    /// The address, unless only the name is known.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Target::Addr(address) | Target::Named { address, .. } => Some(*address),
            Target::Name(..) => None,
        }
    }
}

/// The same endpoint without an IPv4-mapped spelling; flow label and scope are kept for IPv6.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(IpAddr::V4(v4), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// `host:port` as a proxy is told it, brackets around IPv6.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Addr(address) => write!(f, "{address}"),
            Target::Name(host, port) => write!(f, "{host}:{port}"),
            Target::Named { address, name } => write!(f, "{name}:{}", address.port()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_become_ipv4() {
        let target = Target::addr("[::ffff:192.0.2.1]:443".parse().unwrap());
        assert_eq!(target.to_string(), "192.0.2.1:443");
    }

    #[test]
    fn a_named_one_shows_its_name_and_has_its_address() {
        let address = "[2001:db8::1]:443".parse().unwrap();
        let target = Target::Named { address, name: "example.com".into() };
        assert_eq!(target.to_string(), "example.com:443");
        assert_eq!((target.address(), target.port()), (Some(address), 443));
        assert_eq!(Target::Name("example.com".into(), 443).address(), None);
    }

    #[test]
    fn ipv6_is_bracketed() {
        let target = Target::addr("[2001:db8::1]:80".parse().unwrap());
        assert_eq!(target.to_string(), "[2001:db8::1]:80");
    }
}
