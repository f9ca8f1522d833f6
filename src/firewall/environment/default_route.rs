//! Whether this machine's way out has changed: another network, another address, another uplink.
//!
//! Needs no rules and no rights; the network watcher asks every two seconds. What has come over
//! netlink since the last time only says that it is worth looking.

use crate::firewall::netlink::route::{Changes, survey};
use crate::firewall::network::Network;
use std::collections::BTreeSet;
use std::io;

/// The way out as it was when somebody looked last.
#[derive(Debug)]
pub struct DefaultRoute {
    changes: Changes,
    known: BTreeSet<String>,
}

impl DefaultRoute {
    /// Looks, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn look() -> io::Result<Self> {
        let changes = Changes::subscribe()?;
        Ok(DefaultRoute { changes, known: describe(&survey()?) })
    }

    /// Whether it is another one than when it was looked at last. No way out at all is none:
    /// whoever loses the line for a moment and finds it again as it was has lost nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn has_changed(&mut self) -> io::Result<bool> {
        if !self.changes.drain()? {
            return Ok(false);
        }
        let now = describe(&survey()?);
        let changed = !now.is_empty() && now != self.known;
        if changed {
            self.known = now;
        }
        Ok(changed)
    }
}

/// Uplinks, and their addresses that are good for more than their link.
fn describe(network: &Network) -> BTreeSet<String> {
    let uplinks = network.uplinks();
    let links = network.links.iter().filter(|link| uplinks.contains(&link.name));
    let addresses = links.flat_map(|link| {
        let own = network.addresses.iter().filter(|a| a.link == link.index && a.is_usable);
        let far = own
            .filter(|a| !matches!(a.own, std::net::IpAddr::V6(v6) if v6.is_unicast_link_local()));
        far.map(|address| format!("{} {}", link.name, address.own))
    });
    addresses.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::network::tests::{ETHERNET, network};

    #[test]
    fn the_way_out_is_the_uplinks_and_their_addresses() {
        let at = |address: &str, route: &str| {
            describe(&network(&[
                ("eth0", ETHERNET, address, route),
                ("br-lan", ETHERNET, "192.168.1.1/24", "192.168.1.0/24"),
            ]))
        };
        let home = at("192.0.2.7/24 fe80::1/64", "0.0.0.0/0@gw");
        assert_eq!(home, ["eth0 192.0.2.7".to_owned()].into());
        assert_eq!(at("192.0.2.7/24 fe80::2/64", "0.0.0.0/0@gw"), home);
        assert_ne!(at("198.51.100.7/24", "0.0.0.0/0@gw"), home);
        assert_eq!(at("192.0.2.7/24", ""), BTreeSet::new());
    }
}
