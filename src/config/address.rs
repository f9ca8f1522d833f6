//! Addresses, prefixes, domain names and servers, as the file spells them.
//!
//! A reader returns what would be accepted instead, in words that follow "accepted: ".

use super::tls;
use crate::dns::{NameServer, Transport};
use crate::domain::Name;
use crate::target::canonical;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Reads an IP address. An IPv4-mapped one is a slip: nothing would ever match it.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| "an IP address, for example \"192.0.2.1\" or \"2001:db8::1\"".to_owned())?;
    match address.to_canonical() {
        canonical if canonical == address => Ok(address),
        canonical => Err(format!("\"{canonical}\"")),
    }
}

/// Reads an address or a prefix. Host bits are a slip whose meaning cannot be guessed.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
    let net = net
        .map_err(|_| "an address or a prefix, for example \"192.0.2.0/24\" or \"2001:db8::/32\"")?;
    let mapped = match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6.addr().to_ipv4_mapped().map(|v4| (v4, v6)),
        _ => None,
    };
    match mapped {
        Some((v4, v6)) => Err(format!("\"{v4}/{}\"", v6.prefix_len() - 96)),
        None if net.addr() == net.network() => Ok(net),
        None => Err(format!("\"{}\", the prefix without host bits", net.trunc())),
    }
}

/// What a rule is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RuleSubject {
    Prefix(IpNet),
    Suffix(Name),
}

/// Reads an address, a prefix or a domain suffix.
pub(super) fn rule(text: &str) -> Result<RuleSubject, String> {
    let accepted = "an address, a prefix such as \"192.0.2.0/24\", or a domain such as \
                    \"example.com\", which covers its subdomains";
    if text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok() {
        return prefix(text).map(RuleSubject::Prefix);
    }
    if looks_like_address(text) || text.is_empty() {
        return Err(accepted.into());
    }
    suffix(text).map(RuleSubject::Suffix)
}

/// Reads a domain whose subdomains are meant too.
pub(super) fn suffix(text: &str) -> Result<Name, String> {
    let bare = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    if bare != text && bare.parse::<Name>().is_ok() {
        return Err(format!("\"{bare}\", which covers its subdomains"));
    }
    if text.contains('*') {
        return Err("a domain without wildcards: \"example.com\" covers its subdomains".into());
    }
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        if host.parse::<Name>().is_ok() {
            return Err(format!("the domain alone: \"{host}\""));
        }
    }
    domain(text)
}

/// Reads a domain name.
pub(super) fn domain(text: &str) -> Result<Name, String> {
    text.parse().map_err(|slip| format!("a domain name such as \"example.com\"; here {slip}"))
}

/// A proxy server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HostAndPort {
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl HostAndPort {
    /// The address, if the server is not given by name.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Reads `host:port`, `ip:port` or `[v6]:port`.
pub(super) fn server(text: &str) -> Result<HostAndPort, String> {
    let accepted = "host:port, for example \"ss.example.com:8388\", \"192.0.2.1:8388\" or \
                    \"[2001:db8::1]:8388\"";
    if let Some((_, rest)) = text.split_once("://") {
        return Err(match server(rest) {
            Ok(_) => format!("\"{rest}\", without a scheme"),
            Err(_) => accepted.into(),
        });
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        let address = canonical(address);
        reachable(address)?;
        return Ok(HostAndPort { host: address.ip().to_string(), port: address.port() });
    }
    if let Some(in_brackets) = with_brackets(text) {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => format!(
                "the address in brackets and a port: {in_brackets}, or \"[{address}]:PORT\" if all \
                 of it is the address"
            ),
            Err(_) => format!("the address in brackets: {in_brackets}"),
        });
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let example = SocketAddr::new(address, 8388);
        return Err(format!("the port too, for example \"{example}\""));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(if text.parse::<Name>().is_ok() {
            format!("the port too, for example \"{text}:8388\"")
        } else {
            accepted.into()
        });
    };
    let port = port.parse().ok().filter(|port| *port != 0).ok_or(accepted)?;
    if looks_like_address(host) || host == "." {
        return Err(accepted.into());
    }
    let name = domain(host).map_err(|slip| format!("{accepted}; the host is {slip}"))?;
    // No name server knows it: RFC 6761, 6.3.
    if name.labels().last() == Some(b"localhost") {
        return Err(format!("\"127.0.0.1:{port}\" or \"[::1]:{port}\""));
    }
    Ok(HostAndPort { host: name.to_string(), port })
}

/// An IPv6 address and a port, where brackets were forgotten: `2001:db8::1:8388` may be either.
fn with_brackets(text: &str) -> Option<String> {
    let (address, port) = text.rsplit_once(':')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    Some(format!("\"[{address}]:{port}\""))
}

/// Reads `ip`, `ip:port`, `[v6]:port`, `tcp://ip`, `tls://name@ip` and `https://name/path@ip`.
pub(super) fn name_server(text: &str) -> Result<NameServer, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return plain_name_server(text, Transport::Plain.port()).map(NameServer::from);
    };
    if matches!(scheme, "tls" | "https") {
        tls::spoken()?;
    }
    let is_domain = |text: &str| domain(text).is_ok();
    let (transport, address, form) = match (scheme, rest.rsplit_once('@')) {
        ("tcp", None) => (Some(Transport::Tcp), rest, "tcp://ip"),
        ("tls", Some((name, address))) => {
            let transport = is_domain(name).then(|| Transport::Tls { name: name.into() });
            (transport, address, "tls://name@ip")
        }
        ("https", Some((url, address))) => {
            let parts = url.find('/').map(|slash| url.split_at(slash));
            let transport = parts
                .filter(|(name, path)| {
                    is_domain(name) && path.chars().all(|c| c.is_ascii_graphic())
                })
                .map(|(name, path)| Transport::Https { name: name.into(), path: path.into() });
            (transport, address, "https://name/path@ip")
        }
        ("tcp", _) => (None, rest, "tcp://ip"),
        ("tls", _) => (None, rest, "tls://name@ip"),
        ("https", _) => (None, rest, "https://name/path@ip"),
        _ if cfg!(not(feature = "tls")) => (None, rest, "ip or tcp://ip"),
        _ => (None, rest, "ip, tcp://ip, tls://name@ip or https://name/path@ip"),
    };
    let address = transport.as_ref().map(|known| plain_name_server(address, known.port()));
    match (transport, address) {
        (Some(transport), Some(Ok(address))) => Ok(NameServer { address, transport }),
        _ => Err(form.into()),
    }
}

fn plain_name_server(text: &str, port: u16) -> Result<SocketAddr, String> {
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| in_brackets(text).parse::<Ipv6Addr>().map(IpAddr::V6))
        .map(|ip| SocketAddr::new(ip, port))
        .or_else(|_| text.parse::<SocketAddr>())
        .map_err(|_| {
            "the address of a name server: \"192.0.2.53\", \"192.0.2.53:5353\", \"2001:db8::53\" \
             or \"[2001:db8::53]:5353\""
        })?;
    let address = canonical(address);
    reachable(address)?;
    Ok(address)
}

/// An IPv6 address as it stands in a URL.
fn in_brackets(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or_default()
}

/// Refuses what no connection can go to.
fn reachable(address: SocketAddr) -> Result<(), String> {
    let link_local = matches!(address.ip(), IpAddr::V6(v6) if v6.is_unicast_link_local());
    let broadcast = matches!(address.ip(), IpAddr::V4(v4) if v4.is_broadcast());
    if address.port() == 0 {
        Err("a port from 1 to 65535".into())
    } else if address.ip().is_unspecified() || address.ip().is_multicast() || broadcast {
        Err("the address of one host".into())
    } else if link_local {
        Err("an address that holds on every interface, which a link-local one does not".into())
    } else {
        Ok(())
    }
}

/// Digits where a top-level domain would be, or colons: no domain name, but a broken address.
fn looks_like_address(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.chars().all(|c| c.is_ascii_digit());
    let is_v6 =
        text.contains(':') && text.chars().all(|c| c.is_ascii_hexdigit() || ":.[]".contains(c));
    let first = text.split('/').next().unwrap_or_default();
    is_number || is_v6 || (first.len() < text.len() && looks_like_address(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        let read = |text| server(text).map(|server| (server.host, server.port));
        assert_eq!(read("SS.example.com.:8388"), Ok(("ss.example.com".into(), 8388)));
        assert_eq!(read("192.0.2.1:1"), Ok(("192.0.2.1".into(), 1)));
        assert_eq!(read("[2001:db8::1]:65535"), Ok(("2001:db8::1".into(), 65535)));
        assert_eq!(read("[::ffff:192.0.2.1]:1"), Ok(("192.0.2.1".into(), 1)));
        assert_eq!(read("127.0.0.1:1080"), Ok(("127.0.0.1".into(), 1080)));
        for (wrong, accepted) in [
            ("ss.example.com", "the port too, for example \"ss.example.com:8388\""),
            ("192.0.2.1", "the port too, for example \"192.0.2.1:8388\""),
            ("2001:db8::1", "the port too, for example \"[2001:db8::1]:8388\""),
            (
                "2001:db8::1:8388",
                "the address in brackets and a port: \"[2001:db8::1]:8388\", or \
                 \"[2001:db8::1:8388]:PORT\"",
            ),
            ("2001:db8:0:0:0:0:0:1:8388", "the address in brackets: \"[2001:db8::1]:8388\""),
            ("http://a.example:80", "\"a.example:80\", without a scheme"),
            ("localhost:1080", "\"127.0.0.1:1080\" or \"[::1]:1080\""),
            ("0.0.0.0:80", "the address of one host"),
            ("[ff02::1]:80", "the address of one host"),
            ("255.255.255.255:80", "the address of one host"),
            ("[fe80::1]:80", "an address that holds on every interface"),
            ("192.0.2.1:0", "a port from 1 to 65535"),
            ("a.example:0", "host:port"),
            ("a.example:65536", "host:port"),
            ("a.example:", "host:port"),
            (":80", "host:port"),
            ("", "host:port"),
            ("192.0.2.300:80", "host:port"),
            ("2001:db8::1:70000", "host:port"),
            ("a b.example:80", "host:port"),
        ] {
            let said = server(wrong).unwrap_err();
            assert!(said.starts_with(accepted), "{wrong}: {said}");
        }
    }

    #[test]
    fn name_servers() {
        let shown = |text| name_server(text).unwrap().to_string();
        for text in [
            "8.8.8.8",
            "8.8.8.8:5353",
            "2001:db8::1",
            "[2001:db8::1]:5353",
            "tcp://8.8.8.8",
            "tls://dns.google@8.8.8.8",
            "tls://dns.google@8.8.8.8:8853",
            "https://dns.google/dns-query@8.8.8.8",
        ] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("tls://dns.google@[2001:db8::1]:853"), "tls://dns.google@2001:db8::1");
        assert_eq!(shown("tcp://[2001:db8::1]"), "tcp://2001:db8::1");
        let https = name_server("https://dns.google/dns-query@8.8.8.8").unwrap();
        assert_eq!(https.address.port(), 443);
        let (name, path) = ("dns.google".into(), "/dns-query".into());
        assert_eq!(https.transport, Transport::Https { name, path });
        for wrong in [
            "",
            "dns.google",
            "8.8.8",
            "8.8.8.8:0",
            "0.0.0.0",
            "[8.8.8.8]",
            "ff02::fb",
            "fe80::1",
            "tls://8.8.8.8",
            "https://dns.google@8.8.8.8",
            "quic://8.8.8.8",
            "tcp://",
        ] {
            assert!(name_server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rules() {
        assert_eq!(rule("192.0.2.1"), Ok(RuleSubject::Prefix("192.0.2.1/32".parse().unwrap())));
        assert_eq!(
            rule("2001:db8::/32"),
            Ok(RuleSubject::Prefix("2001:db8::/32".parse().unwrap()))
        );
        assert_eq!(rule("Example.com"), Ok(RuleSubject::Suffix("example.com".parse().unwrap())));
        assert_eq!(rule("cn"), Ok(RuleSubject::Suffix("cn".parse().unwrap())));
        for (wrong, accepted) in [
            ("192.0.2.1/24", "\"192.0.2.0/24\", the prefix without host bits"),
            ("::ffff:192.0.2.1", "\"192.0.2.1/32\""),
            ("192.0.2", "an address, a prefix"),
            ("192.0.2.0/33", "an address, a prefix"),
            ("2001:db8:::1", "an address, a prefix"),
            ("", "an address, a prefix"),
            ("*.example.com", "\"example.com\", which covers its subdomains"),
            (".example.com", "\"example.com\", which covers its subdomains"),
            ("www.*.com", "a domain without wildcards"),
            ("https://example.com/x", "the domain alone: \"example.com\""),
            (
                "中国",
                "a domain name such as \"example.com\"; here write international names in punycode",
            ),
            ("a..b", "a domain name such as \"example.com\"; here a label is empty"),
        ] {
            let said = rule(wrong).unwrap_err();
            assert!(said.starts_with(accepted), "{wrong}: {said}");
        }
    }
}
