//! `[firewall]`: what becomes of the kernel's side.

use super::item::Item;
use super::section::Section;
use super::{Backend, Firewall};
use crate::firewall::{Ipv6, Quic};

/// IFNAMSIZ less the terminal zero byte (linux/if.h).
const LONGEST_INTERFACE: usize = 15;

impl Firewall {
    pub(super) fn read(section: &Section<'_>) -> Firewall {
        Firewall {
            backend: section.or("backend", Backend::Auto, backend),
            interfaces: section.or("interfaces", Vec::new(), interfaces),
            ipv6: section.or("ipv6", Ipv6::Proxy, |item| {
                item.choice(&[
                    ("proxy", Ipv6::Proxy),
                    ("direct", Ipv6::Direct),
                    ("block", Ipv6::Block),
                ])
            }),
            quic: section.or("quic", Quic::Reject, |item| {
                item.choice(&[("reject", Quic::Reject), ("direct", Quic::Direct)])
            }),
        }
    }
}

fn backend(item: &Item<'_>) -> Option<Backend> {
    let backend = item.choice(&[
        ("auto", Backend::Auto),
        ("iptables", Backend::Iptables),
        ("nftables", Backend::Nftables),
        ("none", Backend::None),
    ])?;
    match backend {
        Backend::Nftables => item.not_yet("\"auto\", \"iptables\", \"none\""),
        backend => Some(backend),
    }
}

fn interfaces(item: &Item<'_>) -> Option<Vec<String>> {
    let names = item.list(interface)?;
    if names.is_empty() { Some(Vec::new()) } else { item.not_yet("an empty list") }
}

/// A name or glob that the kernel would take (dev_valid_name in net/core/dev.c).
fn interface(text: &str) -> Result<String, String> {
    let valid = (1..=LONGEST_INTERFACE).contains(&text.len())
        && text != "."
        && text != ".."
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if valid {
        Ok(text.to_owned())
    } else {
        Err("an interface or glob of 1 to 15 bytes, for example \"br-lan\" or \"br-*\"".into())
    }
}
