//! Lists of addresses: prefixes, addresses and ranges, one a line; the delegated files of APNIC and
//! the other registries; what `ipset save` and `nft list set` print.

use super::report::{ListFormat, ListReport, UnusedReason};
use super::text;
use crate::ipset::IpSet;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::net::{IpAddr, Ipv4Addr};

/// The country whose delegations count (ISO 3166).
const COUNTRY: &str = "CN";

/// Reads a file. Says what came of its lines.
pub fn read_prefixes(bytes: &[u8]) -> (IpSet, ListReport) {
    let (mut nets, mut report) = (Vec::new(), ListReport::default());
    for (number, line) in text::lines(&text::decoded(bytes)) {
        let before = nets.len();
        match read_line(line, &mut nets) {
            Ok(Some(format)) => report.note_used(format),
            Ok(None) => {}
            Err(reason) => {
                nets.truncate(before);
                report.note_passed_over(reason, "", number, line);
            }
        }
    }
    if nets.is_empty() {
        report.oddity = text::oddity(bytes);
    }
    (nets.into_iter().collect(), report)
}

/// `None`: it says nothing.
fn read_line(line: &str, nets: &mut Vec<IpNet>) -> Result<Option<ListFormat>, UnusedReason> {
    if text::is_blank(line) {
        return Ok(None);
    }
    if line.contains('|') {
        return delegated(line, nets);
    }
    let line = line.split('#').next().unwrap_or_default();
    let line = text::without_comment(line).trim_end();
    let mut words = line.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        // "add china 192.0.2.0/24", with options behind it.
        (Some("add"), Some(_), Some(entry)) => {
            one(entry, nets)?;
            Ok(Some(ListFormat::Ipset))
        }
        (Some(first), Some(last), None) if [first, last].iter().all(|it| is_address(it)) => {
            one(&format!("{first}-{last}"), nets)?;
            Ok(Some(ListFormat::Prefixes))
        }
        (Some("create" | "flush" | "COMMIT" | "table" | "set" | "type" | "flags"), ..) => Ok(None),
        _ => elements(line, nets),
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// Prefixes between commas, with or without what nft(8) puts around them.
fn elements(line: &str, nets: &mut Vec<IpNet>) -> Result<Option<ListFormat>, UnusedReason> {
    let is_punctuation = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | ',');
    let (bare, has_header) = match line.split_once("elements") {
        Some(("", rest)) => (rest.trim_start().trim_start_matches('='), true),
        _ => (line, false),
    };
    let bare = bare.trim_matches(is_punctuation);
    if bare.is_empty() {
        return Ok(None);
    }
    for entry in bare.split(',') {
        one(entry.trim(), nets)?;
    }
    let is_nftables = has_header || line.contains([',', '{', '}']);
    Ok(Some(if is_nftables { ListFormat::Nftables } else { ListFormat::Prefixes }))
}

/// A prefix, an address, or a range `192.0.2.0-192.0.2.9`.
fn one(text: &str, nets: &mut Vec<IpNet>) -> Result<(), UnusedReason> {
    if let Ok(address) = text.parse::<IpAddr>() {
        nets.push(address.into());
        return Ok(());
    }
    if let Ok(net) = text.parse::<IpNet>() {
        // A slip of the pen whose meaning cannot be guessed.
        if net.addr() != net.network() {
            return Err(UnusedReason::HostBits);
        }
        nets.push(net);
        return Ok(());
    }
    let (first, last) = text.split_once('-').ok_or(UnusedReason::Unknown)?;
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(IpAddr::V4(first)), Ok(IpAddr::V4(last))) if first <= last => {
            nets.extend(Ipv4Subnets::new(first, last, 0).map(IpNet::V4));
        }
        (Ok(IpAddr::V6(first)), Ok(IpAddr::V6(last))) if first <= last => {
            nets.extend(Ipv6Subnets::new(first, last, 0).map(IpNet::V6));
        }
        _ => return Err(UnusedReason::Unknown),
    }
    Ok(())
}

/// `registry|CN|ipv4|192.0.2.0|256|20100101|allocated`: for IPv4 a number of addresses, which
/// need be no power of two, for IPv6 the length of a prefix.
fn delegated(line: &str, nets: &mut Vec<IpNet>) -> Result<Option<ListFormat>, UnusedReason> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [_, country, kind, start, value, ..] = fields.as_slice() else {
        return Err(UnusedReason::Unknown);
    };
    // The line of the version, and the sums.
    let is_header = line.starts_with(|c: char| c.is_ascii_digit()) || line.ends_with("|summary");
    if is_header {
        return Ok(None);
    }
    let is_given = fields.get(6).is_none_or(|state| matches!(*state, "allocated" | "assigned"));
    if !country.eq_ignore_ascii_case(COUNTRY) || !matches!(*kind, "ipv4" | "ipv6") || !is_given {
        return Err(UnusedReason::OtherCountry);
    }
    if *kind == "ipv6" {
        let net = format!("{start}/{value}").parse().map_err(|_| UnusedReason::Unknown)?;
        nets.push(IpNet::V6(net));
        return Ok(Some(ListFormat::Delegated));
    }
    let first: Ipv4Addr = start.parse().map_err(|_| UnusedReason::Unknown)?;
    let count: u32 = value.parse().map_err(|_| UnusedReason::Unknown)?;
    let beyond_first = count.checked_sub(1).ok_or(UnusedReason::Unknown)?;
    let last = u32::from(first).checked_add(beyond_first).ok_or(UnusedReason::Unknown)?;
    nets.extend(Ipv4Subnets::new(first, Ipv4Addr::from(last), 0).map(IpNet::V4));
    Ok(Some(ListFormat::Delegated))
}
