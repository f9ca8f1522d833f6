//! `[household]`: where programs ask snet for names that mean snet itself.

use super::ListenConfig;
use super::address::{address, prefix};
use super::file;
use super::item::Item;
use super::section::Section;
use super::tls;
use crate::dns::household::Household;
use crate::dns::identity::ServerIdentity;
use crate::dns::identity_error::IdentityError;
use crate::dns::reply::is_private;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const PORT: u16 = 53;
/// RFC 7858, 3.1.
const TLS_PORT: u16 = 853;
const HTTPS_PORT: u16 = 443;

/// Reads the section; `listen` has ports that are taken.
pub(super) fn read(section: &Section<'_>, listen: &ListenConfig) -> Household {
    let mut household = Household::default();
    let mut taken = Vec::new();
    for (key, addresses, port) in [
        ("dns", &mut household.plain, PORT),
        ("dns-over-tls", &mut household.tls, TLS_PORT),
        ("dns-over-https", &mut household.https, HTTPS_PORT),
    ] {
        section.key(key, addresses, |item| match tls::spoken() {
            Err(accepted) if port != PORT => item.refuse(accepted),
            _ => listeners(item, port, listen, &mut taken),
        });
    }
    section.key("clients", &mut household.clients, |item| {
        Some(item.list(prefix)?.into_iter().map(|(_, net)| net).collect())
    });
    let is_encrypted = !household.tls.is_empty() || !household.https.is_empty();
    household.identity = identity(section, is_encrypted);
    household
}

/// Addresses of this machine with ports, each once in the section.
fn listeners(
    item: &Item<'_>,
    port: u16,
    listen: &ListenConfig,
    taken: &mut Vec<SocketAddr>,
) -> Option<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for element in item.one_or_more()? {
        let Some(at) = element.parse(|text| listener(text, port)) else { continue };
        let is_used_already = [listen.tcp_port, listen.dns_port].contains(&at.port())
            && listen.addresses.iter().any(|own| *own == at.ip() || own.is_unspecified());
        if taken.contains(&at) {
            element.refuse::<()>("each address and port once");
        } else if is_used_already {
            element.refuse::<()>("another port than those of [listen]");
        } else {
            if !is_private(at.ip()) && !at.ip().is_loopback() {
                element.warn(
                    "a public address: only hosts of its IPv6 network (/64) and those of \
                     household.clients get answers there",
                );
            }
            taken.push(at);
            addresses.push(at);
        }
    }
    Some(addresses)
}

fn listener(text: &str, port: u16) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let at = address(text)
        .ok()
        .or_else(|| bare.unwrap_or_default().parse::<Ipv6Addr>().ok().map(IpAddr::V6))
        .map(|ip| SocketAddr::new(ip, port))
        .or_else(|| text.parse().ok())
        .filter(|at: &SocketAddr| at.port() != 0)
        .ok_or_else(|| {
            format!(
                "an address of this machine, with or without a port (else {port}): \
                 \"192.168.1.1\", \"192.168.1.1:5300\" or \"[fd00::1]:5300\""
            )
        })?;
    let is_of_a_host = match at.ip() {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local(),
    };
    match is_of_a_host {
        true => Ok(at),
        // What is listened on everywhere is open to the line as well.
        false => Err("one address of this machine, not all of them, and no link-local one".into()),
    }
}

/// The certificate and its key, which stand in two files.
fn identity(section: &Section<'_>, is_needed: bool) -> Option<ServerIdentity> {
    const CERTIFICATE: &str = "a file in PEM with the certificate of this name server";
    const KEY: &str = "a file in PEM with the key of the certificate";
    let [certificate, key] = ["certificate-file", "key-file"].map(|name| {
        let item = section.item(name).filter(|item| !item.is_empty_text());
        item.inspect(Item::note_change)
    });
    let chain = certificate.as_ref().map(file::certificate);
    let secret = key.as_ref().map(file::key);
    let (certificate, key) = match (certificate, key) {
        (None, None) if !is_needed => return None,
        (None, _) => return section.missing("certificate-file", CERTIFICATE),
        (Some(_), None) => return chain?.and_then(|_| section.missing("key-file", KEY)),
        (Some(certificate), Some(key)) => (certificate, key),
    };
    match ServerIdentity::new(&chain??, &secret??) {
        Ok(identity) => Some(identity),
        Err(IdentityError::Certificate(found)) => certificate.refuse_as(found, CERTIFICATE),
        Err(IdentityError::Key(found)) => key.refuse_as(found, KEY),
    }
}
