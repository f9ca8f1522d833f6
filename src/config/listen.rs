//! `[listen]`: where the daemon listens.

use super::address::address;
use super::item::Item;
use super::section::Section;
use super::{Listen, Mode};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const TCP_PORT: u16 = 1111;
pub(super) const DNS_PORT: u16 = 1211;

impl Listen {
    pub(super) fn read(section: &Section<'_>, mode: Mode) -> Listen {
        let addresses =
            section.or("address", default_addresses(mode), |item| addresses(item, mode));
        let tcp = section.item("tcp-port");
        let dns = section.item("dns-port");
        // A port that could not be read is no reason to complain of the other.
        let tcp_port = tcp.as_ref().map_or(Some(TCP_PORT), |item| item.integer(1, u16::MAX));
        let dns_port = dns.as_ref().map_or(Some(DNS_PORT), |item| item.integer(1, u16::MAX));
        if let (Some(item), true) = (dns.or(tcp), tcp_port.is_some() && tcp_port == dns_port) {
            item.refuse_as::<()>("one port for both tcp-port and dns-port", "two different ports");
        }
        Listen {
            addresses,
            tcp_port: tcp_port.unwrap_or(TCP_PORT),
            dns_port: dns_port.unwrap_or(DNS_PORT),
        }
    }

    /// Whether a connection to `ip` would come back to one of these addresses.
    pub(super) fn is_own(&self, ip: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|own| *own == ip || (ip.is_loopback() && own.is_unspecified() && covers(*own, ip)))
    }
}

pub(super) fn default_addresses(mode: Mode) -> Vec<IpAddr> {
    match mode {
        Mode::Local => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Mode::Router => vec![Ipv6Addr::UNSPECIFIED.into()],
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
