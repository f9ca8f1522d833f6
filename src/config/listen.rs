//! `[listen]`: where the daemon listens.

use super::Mode;
use super::address::address;
use super::item::Item;
use super::section::Section;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `[listen]`: where the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// `listen.address`; not empty, no duplicates.
    pub addresses: Vec<IpAddr>,
    /// `listen.tcp-port`; differs from the next.
    pub tcp_port: u16,
    /// `listen.dns-port`
    pub dns_port: u16,
}

impl ListenConfig {
    /// The default, which depends on the mode.
    pub(super) fn of(mode: Mode) -> ListenConfig {
        let addresses = match mode {
            Mode::Local => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Mode::Router => vec![Ipv6Addr::UNSPECIFIED.into()],
        };
        ListenConfig { addresses, tcp_port: 1111, dns_port: 1211 }
    }

    pub(super) fn read(section: &Section<'_>, mode: Mode) -> ListenConfig {
        let mut listen = ListenConfig::of(mode);
        let port = |item: &Item<'_>| item.integer(1, u16::MAX);
        section.key("address", &mut listen.addresses, |item| addresses(item, mode));
        let tcp_is_read = section.key("tcp-port", &mut listen.tcp_port, port);
        let dns_is_read = section.key("dns-port", &mut listen.dns_port, port);
        // A port that could not be read is no reason to complain of the other.
        if let Some(item) = section.item("dns-port").or(section.item("tcp-port"))
            && tcp_is_read
            && dns_is_read
            && listen.tcp_port == listen.dns_port
        {
            item.refuse_as::<()>("one port for both tcp-port and dns-port", "two different ports");
        }
        listen
    }

    /// Whether a connection to `ip` would come back to one of these addresses.
    pub(super) fn is_own(&self, ip: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|own| *own == ip || (ip.is_loopback() && own.is_unspecified() && covers(*own, ip)))
    }
}

fn addresses(item: &Item<'_>, mode: Mode) -> Option<Vec<IpAddr>> {
    let elements = item.one_or_more()?;
    if elements.is_empty() {
        return item.refuse("at least one address");
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for element in &elements {
        let Some(address) = element.parse(listenable) else { continue };
        if addresses.contains(&address) {
            element.refuse::<()>("each address once");
        } else if let Some(other) = addresses.iter().find(|other| clash(**other, address)) {
            element
                .refuse::<()>(format!("\"{other}\" alone or without it: one includes the other"));
        }
        if mode == Mode::Local && !address.is_loopback() {
            element.warn(format!(
                "{address} lets other hosts ask the name server here; 127.0.0.1 and ::1 are enough \
                 for this machine"
            ));
        }
        addresses.push(address);
    }
    Some(addresses)
}

fn listenable(text: &str) -> Result<IpAddr, String> {
    let address = address(text)?;
    let odd = match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
    };
    if odd {
        return Err("an address of this machine, neither multicast nor link-local".into());
    }
    Ok(address)
}

/// Two sockets cannot have the same port on these: one is the unspecified address for both.
fn clash(a: IpAddr, b: IpAddr) -> bool {
    (a.is_unspecified() && covers(a, b)) || (b.is_unspecified() && covers(b, a))
}

/// `::` stands for both families, `0.0.0.0` for its own.
fn covers(unspecified: IpAddr, other: IpAddr) -> bool {
    unspecified.is_ipv6() || other.is_ipv4()
}
