//! The system's own name servers, for local names: read from resolv.conf(5), never written.

use std::fs;
use std::net::{IpAddr, SocketAddr};
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

fn read() -> Vec<SocketAddr> {
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
        let word = words.next()?;
        // fe80::1%eth0 means nothing without its interface, and parses here only without it.
        let address: IpAddr = word.parse().ok()?;
        let usable = !address.is_loopback() && !address.is_unspecified();
        usable.then(|| SocketAddr::new(address, PORT))
    });
    servers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_nonsense_are_left_out() {
        let text = "# nameserver 192.0.2.9\nsearch lan\nnameserver 127.0.0.53\n\
                    nameserver 192.0.2.1 \nnameserver\t2001:db8::1\nnameserver fe80::1%eth0\n\
                    nameserver x\nnameserver\n";
        let expected: Vec<SocketAddr> =
            vec!["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
        assert_eq!(parse(text), expected);
    }
}
