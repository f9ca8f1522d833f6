//! Where a host is, seen from this machine, and whether the rules take its connections: for those
//! who ask why a device does not work.

use super::netlink::route::survey;
use super::network::Network;
use super::ruleset::Ruleset;
use crate::family::Family;
use std::io;
use std::net::IpAddr;

/// A host, and what the rules mean for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// How it is reached.
    pub relation: HostRelation,
    /// By which interface; none where no route leads there.
    pub interface: Option<String>,
    /// What becomes of what it sends.
    pub capture: HostCapture,
}

/// How a host is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRelation {
    /// It is this machine.
    This,
    /// It is on a link of this machine.
    Neighbour,
    /// It is behind another router.
    Beyond,
}

/// Whether what a host sends is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostCapture {
    /// As a part of this machine.
    Own,
    /// As a host of the LAN side.
    Lan,
    /// It is a host of the LAN side, and its family is not captured there.
    NoListener,
    /// `rules.direct-sources` has it.
    Exempt,
    /// Its interface is not the LAN side since nothing is forwarded from there: the reason.
    Shut(String),
    /// Its interface is an uplink.
    Uplink,
    /// Its interface is none of `firewall.interfaces`, or none is known.
    Elsewhere,
    /// Local mode: only this machine is captured.
    LocalMode,
}

impl Ruleset {
    /// Where this host is now.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn whereabouts(&self, host: IpAddr) -> io::Result<Whereabouts> {
        Ok(self.whereabouts_in(&survey()?, host))
    }

    fn whereabouts_in(&self, network: &Network, host: IpAddr) -> Whereabouts {
        let (relation, interface) = relation(network, host);
        let capture = self.capture_of(relation, interface.as_deref(), host);
        Whereabouts { relation, interface, capture }
    }

    fn capture_of(&self, relation: HostRelation, at: Option<&str>, host: IpAddr) -> HostCapture {
        if relation == HostRelation::This {
            return HostCapture::Own;
        }
        let Some(wanted) = &self.policy.lan else { return HostCapture::LocalMode };
        if wanted.direct_sources.contains(host) {
            return HostCapture::Exempt;
        }
        let Some(at) = at else { return HostCapture::Elsewhere };
        let family = if host.is_ipv4() { Family::V4 } else { Family::V6 };
        let lan = &self.environment.lan;
        if let Some(why) = lan.why_shut(at, family) {
            return HostCapture::Shut(why.to_owned());
        }
        match lan.interfaces.iter().find(|interface| interface.name == at) {
            Some(interface) if interface.captures(family) => HostCapture::Lan,
            Some(_) => HostCapture::NoListener,
            None if lan.uplinks.contains(at) => HostCapture::Uplink,
            None => HostCapture::Elsewhere,
        }
    }
}

/// The interface by which it is reached.
fn relation(network: &Network, host: IpAddr) -> (HostRelation, Option<String>) {
    let name = |index: u32| {
        let link = network.links.iter().find(|link| link.index == index);
        link.map(|link| link.name.clone())
    };
    if let Some(own) = network.addresses.iter().find(|address| address.own == host) {
        return (HostRelation::This, name(own.link));
    }
    if host.is_loopback() {
        return (HostRelation::This, None);
    }
    let on_link = network.links.iter().flat_map(|link| {
        let prefixes = network.on_link(link).filter(|prefix| prefix.contains(&host));
        prefixes.map(|prefix| (prefix.prefix_len(), link.name.clone()))
    });
    if let Some((_, link)) = on_link.max_by_key(|(length, _)| *length) {
        return (HostRelation::Neighbour, Some(link));
    }
    let routes = network.routes.iter().filter(|route| route.destination.contains(&host));
    let route = routes.max_by_key(|route| route.destination.prefix_len());
    let link = route.and_then(|route| route.links.first().copied());
    (HostRelation::Beyond, link.and_then(name))
}

#[cfg(test)]
mod tests {
    use super::super::network::{Address, LinkRoute, NetworkLink};
    use super::*;

    /// A router with an uplink, a LAN, and a second router behind it.
    fn network() -> Network {
        let link = |index, name: &str| NetworkLink {
            index,
            name: name.into(),
            flags: 0x1003,
            ..NetworkLink::default()
        };
        let address = |link, own: &str, prefix: &str| Address {
            link,
            own: own.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
            is_usable: true,
        };
        let route = |destination: &str, link| LinkRoute {
            destination: destination.parse().unwrap(),
            links: vec![link],
            has_gateway: true,
        };
        Network {
            links: vec![link(1, "eth0"), link(2, "br-lan"), link(3, "br-guest")],
            addresses: vec![
                address(1, "192.0.2.2", "192.0.2.0/24"),
                address(2, "192.168.1.1", "192.168.1.0/24"),
                address(2, "2001:db8:1::1", "2001:db8:1::/64"),
                address(3, "192.168.9.1", "192.168.9.0/24"),
            ],
            routes: vec![route("0.0.0.0/0", 1), route("10.7.0.0/16", 2)],
        }
    }

    /// With IPv4 only on the LAN side.
    fn router() -> Ruleset {
        let mut router = super::super::tests::router();
        router.environment.lan.interfaces[0].captured = [true, false];
        router
    }

    fn told(ruleset: &Ruleset, host: &str) -> (HostRelation, String, HostCapture) {
        let it = ruleset.whereabouts_in(&network(), host.parse().unwrap());
        (it.relation, it.interface.unwrap_or_default(), it.capture)
    }

    #[test]
    fn whose_connections_a_router_takes() {
        use HostRelation::{Beyond, Neighbour, This};
        let router = router();
        for (host, relation, interface, capture) in [
            ("192.168.1.7", Neighbour, "br-lan", HostCapture::Lan),
            ("192.168.1.1", This, "br-lan", HostCapture::Own),
            ("127.0.0.5", This, "", HostCapture::Own),
            ("192.168.1.9", Neighbour, "br-lan", HostCapture::Exempt),
            ("2001:db8:1::7", Neighbour, "br-lan", HostCapture::NoListener),
            ("192.168.9.7", Neighbour, "br-guest", HostCapture::Elsewhere),
            ("192.0.2.7", Neighbour, "eth0", HostCapture::Uplink),
            ("10.7.0.3", Beyond, "br-lan", HostCapture::Lan),
            ("203.0.113.1", Beyond, "eth0", HostCapture::Uplink),
            ("2001:db8:2::1", Beyond, "", HostCapture::Elsewhere),
        ] {
            assert_eq!(told(&router, host), (relation, interface.into(), capture), "{host}");
        }
    }

    #[test]
    fn in_local_mode_only_this_machine_counts() {
        let local = router().with(|policy| policy.lan = None);
        assert_eq!(told(&local, "192.168.1.1").2, HostCapture::Own);
        assert_eq!(told(&local, "192.168.1.7").2, HostCapture::LocalMode);
    }
}
