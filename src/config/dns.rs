//! `[dns]`: name servers, cache, answers and privacy.

use super::ListenConfig;
use super::address::{address, domain, prefix};
use super::item::Item;
use super::name_servers::{OwnListeners, apart, forward, name_servers, not_empty, plain_servers};
use super::quantity::{duration, size};
use super::record_type::record_type;
use super::section::Section;
use crate::dns;
use crate::dns::household::Household;
use crate::dns::settings::{
    AnswerSettings, CacheSettings, HttpsRecords, PrivacySettings, ServerSettings, Via,
};
use crate::domain::Name;
use crate::ipset::IpSet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Below, a healthy foreign answer has no time to arrive; above, every known client has given up.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(30);
/// The whole of a small router's memory is not for the cache.
const LARGEST_CACHE: usize = 1 << 30;
/// RFC 8767, 4: nothing is believed longer than a week.
const TTLS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 86_400);

/// `[dns]`, grouped as the resolver's settings are.
#[derive(Debug, Clone, Default)]
pub struct DnsConfig {
    /// Which name servers are asked.
    pub servers: ServerSettings,
    /// Which answers are kept, and for how long.
    pub cache: CacheSettings,
    /// Who learns of a query.
    pub privacy: PrivacySettings,
    /// What a client is answered.
    pub answers: AnswerSettings,
}

impl DnsConfig {
    /// Reads the section; `listen` and `household` are where no name server may be.
    pub(super) fn read(
        section: &Section<'_>,
        listen: &ListenConfig,
        household: &Household,
    ) -> DnsConfig {
        let mut dns = DnsConfig::default();
        servers(section, &OwnListeners { listen, household }, &mut dns.servers);
        cache(section, &mut dns.cache);
        answers(section, &mut dns.answers);
        privacy(section, &mut dns.privacy);
        dns
    }
}

fn servers(section: &Section<'_>, own: &OwnListeners<'_>, servers: &mut ServerSettings) {
    let promise = servers.timeout;
    let china_is_read = section.key("china", &mut servers.china, |item| {
        not_empty(item, name_servers(item.elements()?, own)?)
    });
    let china = if china_is_read { servers.china.as_slice() } else { &[] };
    section.key("trusted", &mut servers.trusted, |item| {
        apart(item, not_empty(item, name_servers(item.elements()?, own)?)?, china)
    });
    section.key("trusted-via", &mut servers.trusted_via, |item| {
        item.choice(&[("proxy", Via::Proxy), ("direct", Via::Direct)])
    });
    section.key("local", &mut servers.local, |item| plain_servers(item.elements()?, own));
    section.key("forward", &mut servers.forward, |item| forward(item, own));
    section.key("timeout", &mut servers.timeout, |item| timeout(item, promise));
    section.key("case-randomization", &mut servers.case_randomization, Item::boolean);
}

fn cache(section: &Section<'_>, cache: &mut CacheSettings) {
    section.key("cache-size", &mut cache.size, |item| item.parse(size(LARGEST_CACHE)));
    section.key("min-ttl", &mut cache.min_ttl, |item| item.parse(seconds));
    section.key("max-ttl", &mut cache.max_ttl, |item| item.parse(seconds));
    if cache.min_ttl > cache.max_ttl
        && let Some(item) = section.item("max-ttl").or(section.item("min-ttl"))
    {
        item.refuse::<()>("a max-ttl that is not below min-ttl");
    }
    section.key("cache-file", &mut cache.file, cache_file);
}

fn answers(section: &Section<'_>, answers: &mut AnswerSettings) {
    section.key("hosts", &mut answers.hosts, hosts);
    section.key("block-types", &mut answers.block_types, block_types);
    section.key("https-records", &mut answers.https_records, |item| {
        item.choice(&[
            ("pass", HttpsRecords::Pass),
            ("strip-hints", HttpsRecords::StripHints),
            ("block", HttpsRecords::Block),
        ])
    });
    let mut found = (answers.bogus.clone(), answers.finds_bogus);
    section.key("bogus", &mut found, bogus);
    (answers.bogus, answers.finds_bogus) = found;
    section.key("rate-limit", &mut answers.rate_limit, |item| item.integer(0, u16::MAX));
}

fn privacy(section: &Section<'_>, privacy: &mut PrivacySettings) {
    section.key("no-leak", &mut privacy.no_leak, Item::boolean);
    section.key("no-leak-subnet", &mut privacy.no_leak_subnet, |item| item.parse(prefix));
    if let (false, Some(item)) = (privacy.no_leak, section.item("no-leak-subnet")) {
        item.warn("not used, since no-leak = false");
    }
    section.key("log-queries", &mut privacy.log_queries, Item::boolean);
}

fn cache_file(item: &Item<'_>) -> Option<Option<PathBuf>> {
    let path = item.parse(absolute_path).filter(|path| !path.as_os_str().is_empty())?;
    match dns::obstacle(&path) {
        Some(found) => item.refuse_as(
            found,
            "a file of snet's own, or none yet, in a folder that it may write, for example \
             \"/var/lib/snet/dns.cache\"",
        ),
        None => Some(Some(path)),
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

/// The promise is 4 s in all, since glibc asks again after 5. Longer is for clients that are known
/// to be patient (behind a satellite link), and is warned of.
fn timeout(item: &Item<'_>, promise: Duration) -> Option<Duration> {
    let timeout = item.parse(duration(TIMEOUTS))?;
    if timeout > promise {
        item.warn("most programs ask again after 5s: above \"4s\" they no longer hear the answer");
    }
    Some(timeout)
}

/// TTLs count in seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let ttl = duration(TTLS)(text)?;
    if ttl.subsec_nanos() == 0 { Ok(ttl) } else { Err("whole seconds".into()) }
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

/// What marks a forged answer, and whether more of it is looked for.
fn bogus(item: &Item<'_>) -> Option<(IpSet, bool)> {
    let (mut prefixes, mut known, mut finds) = (Vec::new(), IpSet::default(), false);
    for element in item.elements()? {
        match element.text() {
            Some("known") => known = dns::warning_pages::known(),
            Some("detected") => finds = true,
            Some(word) if word.chars().all(char::is_alphabetic) => {
                element.refuse::<()>("an address, a prefix, \"known\" or \"detected\"");
            }
            _ => prefixes.extend(element.parse(prefix)),
        }
    }
    Some((prefixes.into_iter().collect::<IpSet>().union(&known), finds))
}

fn block_types(item: &Item<'_>) -> Option<Vec<u16>> {
    let mut types: Vec<u16> =
        item.list(record_type)?.into_iter().map(|(_, number)| number).collect();
    types.sort_unstable();
    types.dedup();
    Some(types)
}
