//! The system's own name servers, for local names: read from resolv.conf(5), never written.

use crate::net;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

/// systemd-resolved keeps the real servers in the first; where it does not run the second has
/// them.
const FILES: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"];

/// A laptop changes networks: the file is looked at again after this.
const FRESH: Duration = Duration::from_secs(5);

const PORT: u16 = 53;

/// The servers, read anew now and then.
#[derive(Debug, Default)]
pub(super) struct SystemServers {
    read: Option<(Instant, Vec<SocketAddr>)>,
}

impl SystemServers {
    /// The servers of the present moment; none if no file names one.
    pub(super) fn now(&mut self, now: Instant) -> Vec<SocketAddr> {
        match &self.read {
            Some((at, servers)) if now.saturating_duration_since(*at) < FRESH => servers.clone(),
            _ => {
                let servers = read();
                self.read = Some((now, servers.clone()));
                servers
            }
        }
    }
}

/// The servers of this moment, read anew.
pub fn read() -> Vec<SocketAddr> {
    for file in FILES {
        let servers = fs::read_to_string(file).map(|text| parse(&text)).unwrap_or_default();
        if !servers.is_empty() {
            return servers;
        }
    }
    Vec::new()
}

/// The `nameserver` lines. A loopback address is a stub that would ask us back.
fn parse(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            return None;
        }
        server(words.next()?)
    });
    servers.collect()
}

/// Routers announce themselves by a link-local address (RFC 8106), which needs its link.
fn server(word: &str) -> Option<SocketAddr> {
    if let Some((address, link)) = word.split_once('%') {
        let address: Ipv6Addr = address.parse().ok()?;
        let is_complete = address.is_unicast_link_local();
        return is_complete
            .then(|| Some(SocketAddrV6::new(address, PORT, 0, net::scope(link)?).into()))?;
    }
    let address: IpAddr = word.parse().ok()?;
    let lacks_link = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let usable = !address.is_loopback() && !address.is_unspecified() && !lacks_link;
    usable.then(|| SocketAddr::new(address, PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_nonsense_are_left_out() {
        let text = "# nameserver 192.0.2.9\nsearch lan\nnameserver 127.0.0.53\n\
                    nameserver 192.0.2.1 \nnameserver\t2001:db8::1\nnameserver fe80::1\n\
                    nameserver fe80::1%no-such\nnameserver 2001:db8::1%lo\n\
                    nameserver x\nnameserver\n";
        let expected: Vec<SocketAddr> =
            vec!["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn a_link_local_server_has_its_link() {
        let servers = parse("nameserver fe80::1%lo\nnameserver fe80::2%7\n");
        let lo = net::scope("lo").unwrap();
        let shown: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
        assert_eq!(shown, [format!("[fe80::1%{lo}]:53"), "[fe80::2%7]:53".to_owned()]);
    }
}
