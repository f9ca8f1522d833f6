//! Lines of hosts(5): an address, and names that have it.

use super::report::{ListFormat, UnusedReason};
use super::sink::{LineOutcome, NameSink, name};
use crate::domain::{Listed, Reach};
use std::net::IpAddr;

/// What hosts files say of the machine itself; no name to block or to route.
const OWN_NAMES: &[&str] = &[
    "localhost",
    "localhost.localdomain",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
];

/// `None`: no such line. `Some(None)`: it says nothing.
pub(super) fn line(sink: &mut NameSink<'_>, line: &str) -> Option<Option<LineOutcome>> {
    let (first, rest) = line.split_once(char::is_whitespace)?;
    let address = address(first)?;
    let rest = rest.split('#').next().unwrap_or_default();
    // "0.0.0.0 0.0.0.0" stands in many block lists.
    let is_name = |word: &&str| !OWN_NAMES.contains(word) && word.parse::<IpAddr>().is_err();
    let mut words = rest.split_whitespace().filter(is_name).peekable();
    if words.peek().is_none() {
        return Some(None);
    }
    if !is_nowhere(address) {
        return Some(Some(Err(UnusedReason::OtherAddress)));
    }
    let mut outcome = Err(UnusedReason::Unknown);
    // The name alone, as in hosts(5): published lists have amazonaws.com and akamaihd.net in them,
    // where they harm no program that reads such files.
    for word in words {
        match name(word) {
            Ok(name) => {
                sink.list.add(&name, Reach::Itself, Listed::In);
                outcome = Ok(ListFormat::Hosts);
            }
            Err(reason) if outcome.is_err() => outcome = Err(reason),
            Err(_) => {}
        }
    }
    Some(Some(outcome))
}

/// An address, also with a zone (`fe80::1%lo0`).
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.split_once('%').map_or(text, |(bare, _)| bare);
    // The short form that some lists save bytes with.
    if bare == "0" { Some([0, 0, 0, 0].into()) } else { bare.parse().ok() }
}

/// An address that stands for none: the list blocks the name.
pub(super) fn is_nowhere(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_unspecified() || address.is_loopback()
}

/// The same of what stands in dnsmasq's `address=/name/...`, where nothing and `#` mean it too.
pub(super) fn is_nowhere_or_nothing(text: &str) -> bool {
    matches!(text, "" | "#") || text.parse().is_ok_and(is_nowhere)
}
