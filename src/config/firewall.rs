//! `[firewall]`: what the kernel is told.

use super::Mode;
use super::item::Item;
use super::section::Section;
use crate::firewall::{Datagrams, Ipv6, OnFailure};

/// IFNAMSIZ less the terminal zero byte (linux/if.h).
const LONGEST_INTERFACE: usize = 15;

/// `[firewall]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallConfig {
    /// `firewall.backend`
    pub backend: BackendChoice,
    /// `firewall.interfaces`: names or globs.
    pub interfaces: Vec<String>,
    /// `firewall.ipv6`
    pub ipv6: Ipv6,
    /// `firewall.quic`
    pub quic: Datagrams,
    /// `firewall.udp`; `None`: "auto", through a proxy where one carries UDP, else direct.
    pub udp: Option<Datagrams>,
    /// `firewall.on-failure`
    pub on_failure: OnFailure,
    /// `firewall.offload`
    pub offload: Offload,
    /// `firewall.count-direct`: what the kernel sends directly is counted.
    pub count_direct: bool,
}

/// `firewall.backend`: which firewall tool installs the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendChoice {
    /// iptables where iptables and ipset are installed, else nftables.
    Auto,
    /// iptables and ipset.
    Iptables,
    /// nftables.
    Nftables,
    /// None: no rule is installed.
    None,
}

/// `firewall.offload`: whether forwarded domestic flows take the kernel's short way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// They do not.
    Off,
    /// They do where the machine can.
    Auto,
}

impl Default for FirewallConfig {
    fn default() -> Self {
        FirewallConfig {
            backend: BackendChoice::Auto,
            interfaces: Vec::new(),
            ipv6: Ipv6::Proxy,
            quic: Datagrams::Reject,
            udp: None,
            on_failure: OnFailure::Open,
            offload: Offload::Off,
            count_direct: true,
        }
    }
}

/// What becomes of foreign datagrams, with the proxies that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramPolicy {
    /// UDP 443.
    pub quic: Datagrams,
    /// Other UDP.
    pub udp: Datagrams,
    /// The same where the machine cannot capture it.
    pub uncapturable_udp: Datagrams,
}

impl DatagramPolicy {
    /// Whether any goes through a proxy.
    pub fn captures(self) -> bool {
        [self.quic, self.udp].contains(&Datagrams::Proxy)
    }
}

impl FirewallConfig {
    /// What becomes of foreign datagrams. `carried`: by a proxy. Where none carries them, what
    /// should go through one is rejected, never sent directly.
    pub(super) fn datagrams(&self, carried: bool) -> DatagramPolicy {
        let possible = |wanted| match wanted {
            Datagrams::Proxy if !carried => Datagrams::Reject,
            wanted => wanted,
        };
        let auto = if carried { Datagrams::Proxy } else { Datagrams::Direct };
        DatagramPolicy {
            quic: possible(self.quic),
            udp: possible(self.udp.unwrap_or(auto)),
            // Wanted by name, it never leaves directly.
            uncapturable_udp: if self.udp.is_none() {
                Datagrams::Direct
            } else {
                Datagrams::Reject
            },
        }
    }

    pub(super) fn read(section: &Section<'_>, mode: Mode) -> FirewallConfig {
        let mut firewall = FirewallConfig::default();
        section.key("backend", &mut firewall.backend, |item| backend(item, mode));
        section.key("interfaces", &mut firewall.interfaces, |item| interfaces(item, mode));
        section.key("ipv6", &mut firewall.ipv6, |item| {
            item.choice(&[("proxy", Ipv6::Proxy), ("direct", Ipv6::Direct), ("block", Ipv6::Block)])
        });
        section.key("quic", &mut firewall.quic, |item| {
            item.choice(&[
                ("reject", Datagrams::Reject),
                ("proxy", Datagrams::Proxy),
                ("direct", Datagrams::Direct),
            ])
        });
        section.key("udp", &mut firewall.udp, |item| {
            item.choice(&[
                ("auto", None),
                ("proxy", Some(Datagrams::Proxy)),
                ("direct", Some(Datagrams::Direct)),
                ("reject", Some(Datagrams::Reject)),
            ])
        });
        section.key("on-failure", &mut firewall.on_failure, |item| {
            item.choice(&[("open", OnFailure::Open), ("closed", OnFailure::Closed)])
        });
        section.key("offload", &mut firewall.offload, |item| offload(item, mode));
        section.key("count-direct", &mut firewall.count_direct, |item| item.boolean());
        firewall
    }
}

fn backend(item: &Item<'_>, mode: Mode) -> Option<BackendChoice> {
    let backend = item.choice(&[
        ("auto", BackendChoice::Auto),
        ("iptables", BackendChoice::Iptables),
        ("nftables", BackendChoice::Nftables),
        ("none", BackendChoice::None),
    ])?;
    if (backend, mode) == (BackendChoice::None, Mode::Router) {
        item.warn(
            "no rule keeps hosts outside the LAN away from the ports of [listen]: see that a \
             firewall of your own does",
        );
    }
    Some(backend)
}

fn offload(item: &Item<'_>, mode: Mode) -> Option<Offload> {
    let offload = item.choice(&[("off", Offload::Off), ("auto", Offload::Auto)])?;
    if (offload, mode) == (Offload::Auto, Mode::Local) {
        item.warn("not used, since mode = \"local\": nothing is forwarded");
    }
    Some(offload)
}

fn interfaces(item: &Item<'_>, mode: Mode) -> Option<Vec<String>> {
    let interfaces: Vec<String> = item.list(interface)?.into_iter().map(|(_, name)| name).collect();
    if mode == Mode::Local && !interfaces.is_empty() {
        item.warn("not used, since mode = \"local\"");
    }
    Some(interfaces)
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
