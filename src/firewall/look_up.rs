//! What the kernel makes of one address, asked of its sets as they are now: for `snet explain`.
//!
//! The sets are the kernel's, the order is that of the [`LADDER`], which the rules are made of. No
//! packet is sent, and a rule that another program has put before ours is not seen here.

use super::error::Error;
use super::ladder::{Destination, LADDER, Verdict};
use super::netlink::route;
use super::policy::Foreign;
use super::ruleset::Ruleset;
use super::sets::Set;
use super::switch::OnFailure;
use crate::family::Family;
use crate::route::Route;
use std::net::{IpAddr, Ipv4Addr};

/// Where the kernel sends a TCP connection to an address, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelAnswer {
    /// Its sets that hold the address, the strongest first.
    pub sets: Vec<&'static str>,
    /// The rung of the ladder that decides, in words.
    pub rung: String,
    /// Where it goes: captured is [`Route::Proxy`].
    pub route: Route,
    /// Whether the rules act; otherwise this is what they would do.
    pub acts: bool,
    /// What becomes of foreign connections while they do not.
    pub is_closed: bool,
}

/// `holds`: whether the kernel's set holds the address; of a switch, whether it is on.
pub(super) fn answer(
    ruleset: &Ruleset,
    address: IpAddr,
    mut holds: impl FnMut(Set) -> Result<bool, Error>,
) -> Result<KernelAnswer, Error> {
    let family = Family::of(address);
    let mut sets = Vec::new();
    let mut decided = None;
    for (destination, verdict) in LADDER {
        let is_there = match destination {
            Destination::Local => is_local(address)?,
            Destination::Multicast => address.is_multicast(),
            Destination::In(set) => holds(set)?,
            Destination::Anywhere => true,
        };
        if !is_there {
            continue;
        }
        if let Destination::In(set) = destination {
            sets.push(set.word());
        }
        decided = decided.or(Some((destination, verdict)));
    }
    let (destination, verdict) = decided.unwrap_or((Destination::Anywhere, Verdict::Foreign));
    let (route, what_of_it) = match (verdict, ruleset.foreign(family)) {
        (Verdict::Pass, _) => (Route::Direct, ""),
        (Verdict::Block, _) => (Route::Block, ""),
        (Verdict::Foreign, Foreign::Redirect { .. }) => (Route::Proxy, ""),
        (Verdict::Foreign, Foreign::Pass) => (Route::Direct, ", and firewall.ipv6 says direct"),
        (Verdict::Foreign, Foreign::Reject) => (Route::Block, ", and firewall.ipv6 says block"),
    };
    let rung = match destination {
        Destination::Local => "it is an address of this machine".into(),
        Destination::Multicast => "it is a multicast address".into(),
        Destination::In(set) => format!("its set {} has it", set.word()),
        Destination::Anywhere => "none of its sets has it".into(),
    };
    Ok(KernelAnswer {
        sets,
        rung: format!("{rung}{what_of_it}"),
        route,
        acts: holds(Set::Alive)?,
        is_closed: ruleset.policy.on_failure == OnFailure::Closed,
    })
}

/// As the routing table has it, broadcast included.
fn is_local(address: IpAddr) -> Result<bool, Error> {
    if address.is_loopback() || address == Ipv4Addr::BROADCAST {
        return Ok(true);
    }
    let network = route::survey().map_err(|source| Error::Netlink { source })?;
    let is_here = |of: &super::network::Address| {
        of.own == address || of.prefix.addr().is_ipv4() && of.prefix.broadcast() == address
    };
    Ok(network.addresses.iter().any(is_here))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::policy::Ipv6;
    use crate::firewall::tests::ruleset;

    fn ask(ruleset: &Ruleset, address: &str, held: &[Set]) -> KernelAnswer {
        answer(ruleset, address.parse().unwrap(), |set| Ok(held.contains(&set))).unwrap()
    }

    #[test]
    fn the_first_rung_decides_and_all_sets_are_told() {
        let sets = [Set::China, Set::Proxy, Set::Alive];
        let found = ask(&ruleset(), "198.51.100.1", &sets);
        assert_eq!((found.route, found.acts), (Route::Proxy, true));
        assert_eq!(found.sets, ["proxy", "china"]);
        assert_eq!(found.rung, "its set proxy has it");
        let found = ask(&ruleset(), "198.51.100.1", &[]);
        assert_eq!((found.route, found.acts), (Route::Proxy, false));
        assert_eq!(found.rung, "none of its sets has it");
        assert_eq!(ask(&ruleset(), "198.51.100.1", &[Set::Servers]).route, Route::Direct);
        assert_eq!(ask(&ruleset(), "198.51.100.1", &[Set::Block]).route, Route::Block);
        let found = ask(&ruleset(), "127.0.0.1", &[Set::Block]);
        assert_eq!(
            (found.route, &*found.rung),
            (Route::Direct, "it is an address of this machine")
        );
        assert_eq!(ask(&ruleset(), "ff02::fb", &[]).route, Route::Direct);
    }

    #[test]
    fn foreign_ipv6_goes_as_the_file_says() {
        let with = |ipv6| ruleset().with(|policy| policy.ipv6 = ipv6);
        for (ipv6, route) in [
            (Ipv6::Proxy, Route::Proxy),
            (Ipv6::Direct, Route::Direct),
            (Ipv6::Block, Route::Block),
        ] {
            assert_eq!(ask(&with(ipv6), "2001:db8:f::1", &[]).route, route);
            assert_eq!(ask(&with(ipv6), "198.51.100.1", &[]).route, Route::Proxy);
        }
    }
}
