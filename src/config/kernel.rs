//! `[firewall]`: what becomes of the kernel's side.

use super::item::Item;
use super::section::Section;
use super::{Backend, Firewall, Mode};
use crate::firewall::{Ipv6, OnFailure, Quic};

/// IFNAMSIZ less the terminal zero byte (linux/if.h).
const LONGEST_INTERFACE: usize = 15;

impl Firewall {
    pub(super) fn read(section: &Section<'_>, mode: Mode) -> Firewall {
        Firewall {
            backend: section.or("backend", Backend::Auto, |item| {
                let backend = backend(item)?;
                if (backend, mode) == (Backend::None, Mode::Router) {
                    item.warn(
                        "no rule keeps strangers away from the ports of [listen]: see that a \
                         firewall of your own does",
                    );
                }
                Some(backend)
            }),
            interfaces: section.or("interfaces", Vec::new(), |item| {
                let interfaces = interfaces(item)?;
                if mode == Mode::Local && !interfaces.is_empty() {
                    item.warn("not used, since mode = \"local\"");
                }
                Some(interfaces)
            }),
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
            on_failure: section.or("on-failure", OnFailure::Open, |item| {
                item.choice(&[("open", OnFailure::Open), ("closed", OnFailure::Closed)])
            }),
        }
    }
}

fn backend(item: &Item<'_>) -> Option<Backend> {
    item.choice(&[
        ("auto", Backend::Auto),
        ("iptables", Backend::Iptables),
        ("nftables", Backend::Nftables),
        ("none", Backend::None),
    ])
}

fn interfaces(item: &Item<'_>) -> Option<Vec<String>> {
    Some(item.list(interface)?.into_iter().map(|(_, name)| name).collect())
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
