//! What the resolver is told: [`Settings`], in four groups of keys of `[dns]` and what other
//! sections say. The `Default` of a group is what the file says by default.

use super::household::Household;
use super::name_server::NameServer;
use super::warning_pages;
use crate::domain::{DomainMap, Name};
use crate::ipset::IpSet;
use crate::route::Rules;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the resolver is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Addresses to listen on, UDP and TCP, for what is captured.
    pub listen: Vec<SocketAddr>,
    /// Where programs ask that mean snet itself.
    pub household: Household,
    /// Names with a route of their own, names that only the domestic side is asked for, and which
    /// addresses are domestic.
    pub rules: Arc<Rules>,
    /// `firewall.ipv6 = "block"`: foreign names get no AAAA.
    pub no_foreign_aaaa: bool,
    /// Which name servers are asked.
    pub servers: ServerSettings,
    /// Which answers are kept, and for how long.
    pub cache: CacheSettings,
    /// Who learns of a query.
    pub privacy: PrivacySettings,
    /// What a client is answered.
    pub answers: AnswerSettings,
}

/// Which name servers are asked, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// `dns.china`: domestic name servers, asked directly; not empty.
    pub china: Vec<NameServer>,
    /// `dns.trusted`; not empty, none of `china`.
    pub trusted: Vec<NameServer>,
    /// `dns.trusted-via`
    pub trusted_via: Via,
    /// `dns.local`: name servers for local names; empty: the system's non-loopback ones.
    pub local: Vec<SocketAddr>,
    /// `dns.forward`: domains with name servers of their own.
    pub forward: DomainMap<Vec<SocketAddr>>,
    /// `dns.timeout`: no query waits longer in all.
    pub timeout: Duration,
    /// `dns.case-randomization`: what is asked over UDP is written in random case, and only replies
    /// that repeat it count (draft-vixie-dnsext-dns0x20).
    pub case_randomization: bool,
}

/// How the trusted name servers are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Over TCP through the proxies.
    Proxy,
    /// Over TCP directly.
    Direct,
}

impl Default for ServerSettings {
    fn default() -> Self {
        let plain = |ip: [u8; 4]| NameServer::from(SocketAddr::new(Ipv4Addr::from(ip).into(), 53));
        ServerSettings {
            china: vec![plain([223, 5, 5, 5]), plain([119, 29, 29, 29])],
            trusted: vec![plain([8, 8, 8, 8]), plain([1, 1, 1, 1])],
            trusted_via: Via::Proxy,
            local: Vec::new(),
            forward: DomainMap::default(),
            // glibc asks again after 5 s.
            timeout: Duration::from_secs(4),
            case_randomization: false,
        }
    }
}

/// Which answers are kept, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// `dns.cache-size` in bytes.
    pub size: usize,
    /// `dns.min-ttl`: lower clamp of TTLs, in whole seconds.
    pub min_ttl: Duration,
    /// `dns.max-ttl`: upper clamp of TTLs; not below the lower one.
    pub max_ttl: Duration,
    /// `dns.cache-file`: answers are kept there over a restart.
    pub file: Option<PathBuf>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        CacheSettings {
            size: 4 << 20,
            min_ttl: Duration::ZERO,
            max_ttl: Duration::from_secs(86_400),
            file: None,
        }
    }
}

/// Who learns of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivacySettings {
    /// `dns.no-leak`: names that no list has are asked of the domestic side only if the trusted
    /// side says that they are domestic.
    pub no_leak: bool,
    /// `dns.no-leak-subnet`: for whom the trusted side is asked then (RFC 7871).
    pub no_leak_subnet: IpNet,
    /// `dns.log-queries`
    pub log_queries: bool,
}

impl Default for PrivacySettings {
    fn default() -> Self {
        // In Nanjing: known to every map of the world's addresses.
        let subnet = IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(114, 114, 114, 0)), 24);
        PrivacySettings { no_leak: false, no_leak_subnet: subnet, log_queries: false }
    }
}

/// What a client is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerSettings {
    /// `dns.hosts`: names answered from the file.
    pub hosts: HashMap<Name, Vec<IpAddr>>,
    /// `dns.block-types`: query types, by number, that are answered with NODATA.
    pub block_types: Vec<u16>,
    /// `dns.https-records`
    pub https_records: HttpsRecords,
    /// `dns.bogus`: addresses that mark a forged answer.
    pub bogus: IpSet,
    /// `dns.bogus`: others are looked for, see [`rewriting`](super::rewriting).
    pub finds_bogus: bool,
    /// `dns.rate-limit`: queries a second of one client that are answered over UDP; 0: all.
    pub rate_limit: u16,
}

/// What becomes of HTTPS and SVCB records (RFC 9460).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpsRecords {
    /// They are answered as they are.
    Pass,
    /// Without the addresses in them, so that programs ask for A and AAAA.
    StripHints,
    /// They do not exist.
    Block,
}

impl Default for AnswerSettings {
    fn default() -> Self {
        AnswerSettings {
            hosts: HashMap::new(),
            block_types: Vec::new(),
            https_records: HttpsRecords::Pass,
            bogus: warning_pages::known(),
            finds_bogus: true,
            // A busy network behind one address stays below; a flood does not.
            rate_limit: 1000,
        }
    }
}

impl Settings {
    /// Whether these settings give the same answers as those: then what was answered still holds.
    /// How long is waited, how much is kept and what is logged does not matter.
    pub(super) fn answer_like(&self, other: &Settings) -> bool {
        let (servers, cache, privacy, answers) =
            (self.servers.clone(), &self.cache, self.privacy.clone(), self.answers.clone());
        let alike = Settings {
            listen: other.listen.clone(),
            household: other.household.clone(),
            rules: Arc::clone(&other.rules),
            no_foreign_aaaa: self.no_foreign_aaaa,
            servers: ServerSettings { timeout: other.servers.timeout, ..servers },
            cache: CacheSettings {
                min_ttl: cache.min_ttl,
                max_ttl: cache.max_ttl,
                ..other.cache.clone()
            },
            privacy: PrivacySettings { log_queries: other.privacy.log_queries, ..privacy },
            answers: AnswerSettings { rate_limit: other.answers.rate_limit, ..answers },
        };
        let same_rules =
            self.rules.same_names(&other.rules) && self.rules.china == other.rules.china;
        same_rules && alike == *other
    }
}
