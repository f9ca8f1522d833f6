//! The public name servers whose names for HTTPS are known (RFC 8484): they can be asked at port
//! 443 where a proxy allows nothing else, which is squid's default.

use crate::dns::name_server::{NameServer, Transport};
use std::net::{IpAddr, SocketAddr};

/// How dns.trusted names one of them.
pub(super) const EXAMPLE: &str = "https://dns.google/dns-query@8.8.8.8";

/// The name under which the server at an address speaks HTTPS, if it is known.
pub(in crate::dns) type ServerNames = fn(IpAddr) -> Option<&'static str>;

/// All of them answer at the path `/dns-query`, and hold certificates of these names.
const SERVERS: [(&str, [&str; 4]); 3] = [
    ("dns.google", ["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"]),
    ("cloudflare-dns.com", ["1.1.1.1", "1.0.0.1", "2606:4700:4700::1111", "2606:4700:4700::1001"]),
    ("dns.quad9.net", ["9.9.9.9", "149.112.112.112", "2620:fe::fe", "2620:fe::9"]),
];

/// The name of a public server.
pub(in crate::dns) fn name(server: IpAddr) -> Option<&'static str> {
    let has = |addresses: &[&str]| addresses.iter().any(|text| text.parse() == Ok(server));
    SERVERS.iter().find(|(_, addresses)| has(addresses)).map(|(name, _)| *name)
}

/// The same server over HTTPS, if it is asked over bare TCP at its usual port now.
pub(super) fn over_https(server: &NameServer, names: ServerNames) -> Option<NameServer> {
    let is_bare = matches!(server.transport, Transport::Plain | Transport::Tcp);
    if cfg!(not(feature = "tls")) || !is_bare || server.address.port() != server.transport.port() {
        return None;
    }
    let name = names(server.address.ip())?.to_owned();
    let transport = Transport::Https { name, path: "/dns-query".into() };
    let address = SocketAddr::new(server.address.ip(), transport.port());
    Some(NameServer { address, transport })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "tls")]
    fn over_https(text: &str, transport: Transport) -> Option<String> {
        let address = text.parse().unwrap();
        super::over_https(&NameServer { address, transport }, name).map(|it| it.to_string())
    }

    #[cfg(feature = "tls")]
    #[test]
    fn known_servers_over_https() {
        for (server, expected) in [
            ("8.8.8.8:53", Some(EXAMPLE)),
            (
                "[2606:4700:4700::1111]:53",
                Some("https://cloudflare-dns.com/dns-query@2606:4700:4700::1111"),
            ),
            ("149.112.112.112:53", Some("https://dns.quad9.net/dns-query@149.112.112.112")),
            ("8.8.8.8:5353", None),
            ("192.0.2.53:53", None),
        ] {
            for transport in [Transport::Plain, Transport::Tcp] {
                assert_eq!(over_https(server, transport).as_deref(), expected, "{server}");
            }
        }
        let tls = Transport::Tls { name: "dns.google".into() };
        assert_eq!(over_https("8.8.8.8:853", tls), None, "it was written so");
    }

    #[test]
    fn every_address_of_the_table_is_one() {
        for address in SERVERS.iter().flat_map(|(_, addresses)| addresses) {
            assert!(address.parse().is_ok_and(|ip| name(ip).is_some()), "{address}");
        }
    }
}
