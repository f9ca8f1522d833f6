//! `[dns]`: name servers, cache and judgement.

use super::address::{address, domain, name_server, prefix, suffix};
use super::item::Item;
use super::section::Section;
use super::value::{duration, size};
use super::{Dns, Listen};
use crate::dns::settings::{
    AnswerSettings, CacheSettings, HttpsRecords, PrivacySettings, ServerSettings, Via,
};
use crate::dns::{self, NameServer, Transport};
use crate::domain::{DomainMap, Name};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Below, a healthy foreign answer has no time to arrive; above, every known client has given up.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(30);
/// The whole of a small router's memory is not for the cache.
const LARGEST_CACHE: usize = 1 << 30;
/// RFC 8767, 4: nothing is believed longer than a week.
const TTLS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 86_400);

/// RFC 1035, 3.2.2 and the IANA registry: types that somebody may want to block by name.
const TYPES: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("LOC", 29),
    ("SRV", 33),
    ("NAPTR", 35),
    ("CERT", 37),
    ("DNAME", 39),
    ("DS", 43),
    ("SSHFP", 44),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("NSEC3", 50),
    ("TLSA", 52),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("SPF", 99),
    ("ANY", 255),
    ("URI", 256),
    ("CAA", 257),
];

impl Dns {
    /// Reads the section; `listen` is where no name server may be.
    pub(super) fn read(section: &Section<'_>, listen: &Listen) -> Dns {
        Dns {
            servers: servers(section, listen),
            cache: cache(section),
            privacy: privacy(section),
            answers: answers(section),
        }
    }
}

fn servers(section: &Section<'_>, listen: &Listen) -> ServerSettings {
    let default = ServerSettings::default();
    let any = |item: &Item<'_>| name_servers(item.elements()?, listen);
    let china = section.item("china");
    let trusted = section.item("trusted");
    let china = match &china {
        Some(item) => any(item).and_then(|list| not_empty(item, list)),
        None => Some(default.china),
    };
    let trusted = match &trusted {
        Some(item) => any(item)
            .and_then(|list| not_empty(item, list))
            .and_then(|list| apart(item, list, china.as_deref().unwrap_or_default())),
        None => Some(default.trusted),
    };
    ServerSettings {
        china: china.unwrap_or_default(),
        trusted: trusted.unwrap_or_default(),
        trusted_via: section.or("trusted-via", default.trusted_via, |item| {
            item.choice(&[("proxy", Via::Proxy), ("direct", Via::Direct)])
        }),
        local: section.or("local", default.local, |item| plain_servers(item.elements()?, listen)),
        forward: section.or("forward", default.forward, |item| forward(item, listen)),
        timeout: section.or("timeout", default.timeout, |item| timeout(item, default.timeout)),
        case_randomization: section.or(
            "case-randomization",
            default.case_randomization,
            Item::boolean,
        ),
    }
}

fn cache(section: &Section<'_>) -> CacheSettings {
    let default = CacheSettings::default();
    let ttl = |item: &Item<'_>| item.parse(seconds);
    let min_ttl = section.or("min-ttl", default.min_ttl, ttl);
    let max_ttl = section.or("max-ttl", default.max_ttl, ttl);
    if let (true, Some(item)) =
        (min_ttl > max_ttl, section.item("max-ttl").or(section.item("min-ttl")))
    {
        item.refuse::<()>("a max-ttl that is not below min-ttl");
    }
    CacheSettings {
        size: section.or("cache-size", default.size, |item| item.parse(size(LARGEST_CACHE))),
        min_ttl,
        max_ttl,
        file: section.or("cache-file", default.file, |item| {
            let path = item.parse(absolute_path).filter(|path| !path.as_os_str().is_empty())?;
            if let Some(found) = dns::obstacle(&path) {
                let accepted = "a file of snet's own, or none yet, in a folder that it may write, for \
                                example \"/var/lib/snet/dns.cache\"";
                return item.refuse_as(found, accepted);
            }
            Some(Some(path))
        }),
    }
}

fn privacy(section: &Section<'_>) -> PrivacySettings {
    let default = PrivacySettings::default();
    let no_leak = section.or("no-leak", default.no_leak, Item::boolean);
    if let (false, Some(item)) = (no_leak, section.item("no-leak-subnet")) {
        item.warn("not used, since no-leak = false");
    }
    PrivacySettings {
        no_leak,
        no_leak_subnet: section
            .or("no-leak-subnet", default.no_leak_subnet, |item| item.parse(prefix)),
        log_queries: section.or("log-queries", default.log_queries, Item::boolean),
    }
}

fn answers(section: &Section<'_>) -> AnswerSettings {
    let default = AnswerSettings::default();
    AnswerSettings {
        hosts: section.or("hosts", default.hosts, hosts),
        block_types: section.or("block-types", default.block_types, block_types),
        https_records: section.or("https-records", default.https_records, |item| {
            item.choice(&[
                ("pass", HttpsRecords::Pass),
                ("strip-hints", HttpsRecords::StripHints),
                ("block", HttpsRecords::Block),
            ])
        }),
        bogus: section.or("bogus", default.bogus, |item| {
            Some(item.list(prefix)?.into_iter().map(|(_, net)| net).collect())
        }),
        rate_limit: section.or("rate-limit", default.rate_limit, |item| item.integer(0, u16::MAX)),
    }
}

/// A relative path would mean another file for each way to start.
fn absolute_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if text.is_empty() || path.is_absolute() && !text.contains('\0') {
        Ok(path)
    } else {
        Err("\"\" or an absolute path, for example \"/var/lib/snet/dns.cache\"".into())
    }
}

/// Name servers, none of them ourselves, each once.
fn name_servers(elements: Vec<Item<'_>>, listen: &Listen) -> Option<Vec<NameServer>> {
    let mut servers = Vec::new();
    let mut sound = true;
    for item in elements {
        let server = item.parse(name_server).and_then(|server| {
            if is_own(server.address, listen) {
                item.refuse(
                    "another name server than snet itself, which would ask itself in a circle",
                )
            } else if servers.contains(&server) {
                item.refuse("each name server once")
            } else {
                Some(server)
            }
        });
        sound &= server.is_some();
        servers.extend(server);
    }
    sound.then_some(servers)
}

/// Name servers in one's own network, or at the other end of a tunnel.
fn plain_servers(elements: Vec<Item<'_>>, listen: &Listen) -> Option<Vec<SocketAddr>> {
    let plain = |(item, server): (&Item<'_>, &NameServer)| match server.transport {
        Transport::Plain => Some(server.address),
        _ => item.not_yet("ip, ip:port or [v6]:port"),
    };
    let items = elements.clone();
    let servers = name_servers(elements, listen)?;
    let found: Vec<_> = items.iter().zip(&servers).map(plain).collect();
    found.into_iter().collect()
}

fn is_own(server: SocketAddr, listen: &Listen) -> bool {
    server.port() == listen.dns_port && listen.is_own(server.ip())
}

fn not_empty<T>(item: &Item<'_>, servers: Vec<T>) -> Option<Vec<T>> {
    if servers.is_empty() { item.refuse("at least one name server") } else { Some(servers) }
}

/// A server on both sides would make every judgement worthless.
fn apart(
    item: &Item<'_>,
    trusted: Vec<NameServer>,
    china: &[NameServer],
) -> Option<Vec<NameServer>> {
    // One server may be asked in several ways; on a port of its own it is another.
    let identity = |server: &NameServer| {
        let port = server.address.port();
        (server.address.ip(), (port != server.transport.port()).then_some(port))
    };
    let is_domestic =
        |server: &&NameServer| china.iter().any(|other| identity(other) == identity(server));
    match trusted.iter().find(is_domestic) {
        Some(both) => {
            item.refuse_as(format!("{both}, which is in china too"), "no server on both sides")
        }
        None => Some(trusted),
    }
}

/// The promise is 4 s in all, since glibc asks again after 5. Longer is left to whoever knows
/// their clients to be patient (a satellite link), but not without a word.
fn timeout(item: &Item<'_>, promised: Duration) -> Option<Duration> {
    let timeout = item.parse(duration(TIMEOUTS))?;
    if timeout > promised {
        item.warn("most programs ask again after 5s: above \"4s\" they no longer hear the answer");
    }
    Some(timeout)
}

/// TTLs count in seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let ttl = duration(TTLS)(text)?;
    if ttl.subsec_nanos() == 0 { Ok(ttl) } else { Err("whole seconds".into()) }
}

fn forward(item: &Item<'_>, listen: &Listen) -> Option<DomainMap<Vec<SocketAddr>>> {
    let mut forward = DomainMap::default();
    for (key, item) in item.entries()? {
        let name = match suffix(key) {
            Ok(name) if name.as_wire() != [0] => name,
            Ok(_) => {
                item.refuse_as::<()>(
                    "the root",
                    "a domain; for all others there are china and trusted",
                );
                continue;
            }
            Err(accepted) => {
                item.refuse_as::<()>("this name", accepted);
                continue;
            }
        };
        let Some(servers) = item.one_or_more().and_then(|list| plain_servers(list, listen)) else {
            continue;
        };
        let Some(servers) = not_empty(&item, servers) else { continue };
        if forward.insert(&name, servers).is_some() {
            item.refuse_as::<()>(format!("{name} a second time"), "each name once");
        }
    }
    Some(forward)
}

fn hosts(item: &Item<'_>) -> Option<HashMap<Name, Vec<IpAddr>>> {
    let mut hosts = HashMap::new();
    for (key, item) in item.entries()? {
        let Some(elements) = item.one_or_more() else { continue };
        let addresses: Vec<IpAddr> =
            elements.iter().filter_map(|element| element.parse(address)).collect();
        if elements.is_empty() {
            item.refuse::<()>("at least one address");
        }
        match domain(key) {
            Ok(name) => {
                if hosts.insert(name, addresses).is_some() {
                    item.refuse_as::<()>("this name a second time", "each name once");
                }
            }
            Err(accepted) => {
                item.refuse_as::<()>("this name", accepted);
            }
        }
    }
    Some(hosts)
}

fn block_types(item: &Item<'_>) -> Option<Vec<u16>> {
    let mut types: Vec<u16> =
        item.list(record_type)?.into_iter().map(|(_, number)| number).collect();
    types.sort_unstable();
    types.dedup();
    Some(types)
}

/// Reads a mnemonic, or `TYPE65` for any number (RFC 3597, 5).
fn record_type(text: &str) -> Result<u16, String> {
    let upper = text.to_ascii_uppercase();
    if let Some((_, number)) = TYPES.iter().find(|(name, _)| *name == upper) {
        return Ok(*number);
    }
    let number =
        upper.strip_prefix("TYPE").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    number.and_then(|digits| digits.parse().ok()).filter(|number| *number != 0).ok_or_else(|| {
        let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        format!("{}, or TYPE and a number, for example \"TYPE65\"", names.join(", "))
    })
}

/// The name of a type, for people.
pub(super) fn show_type(number: u16) -> String {
    let name = TYPES.iter().find(|(_, known)| *known == number);
    name.map_or_else(|| format!("TYPE{number}"), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_types() {
        assert_eq!(record_type("AAAA"), Ok(28));
        assert_eq!(record_type("https"), Ok(65));
        assert_eq!(record_type("TYPE65"), Ok(65));
        for wrong in ["", "TYPE", "TYPE0", "TYPE65536", "TYPE+1", "AAAAA", "28"] {
            assert!(record_type(wrong).is_err(), "{wrong}");
        }
        for (name, number) in TYPES {
            assert_eq!(record_type(name), Ok(*number));
            assert_eq!(show_type(*number), *name);
        }
        assert_eq!(show_type(1000), "TYPE1000");
    }
}
