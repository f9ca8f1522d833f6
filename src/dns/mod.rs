//! How names are answered: the ChinaDNS judgement.
//!
//! The story of a query. [`server`] receives it; [`resolver`] walks down the ladder of early
//! returns (hosts, special names, blocks, cache). What is left becomes a [`flight`], one for all
//! who ask the same at that moment: it chooses whom to ask, and for a name that nobody listed
//! [`judge`] asks both sides and lets [`split`] decide, or with `dns.no-leak` [`no_leak`] asks one
//! after the other. [`upstream`] does the asking. Beside the story stand [`limit`] (floods),
//! [`loops`] (our own questions), [`split_horizon`] (names that only the asked server knows), [`present`] (other settings while it runs), [`persistence`] (the cache's file) and [`query_log`].
//!
//! Everything runs on one thread of its own with a runtime of its own: nothing is locked, and a
//! busy relay does not delay a name. Messages are kept and sent as bytes ([`wire`], [`reply`]).

pub mod bootstrap;
pub mod cache;
pub mod hosts;
pub mod limit;
pub mod name_server;
pub mod options;
pub mod reply;
pub mod special;
pub mod split;
pub mod wire;

mod flight;
mod horizon;
mod judge;
mod loops;
mod no_leak;
mod persistence;
mod present;
mod query_log;
mod resolver;
mod rewriting;
mod server;
mod siblings;
mod split_horizon;
mod system;
mod upstream;

use crate::domain::{DomainMap, Name};
use crate::ipset::IpSet;
use crate::route::Rules;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use name_server::{NameServer, Transport};
pub use options::{HttpsRecords, Options};
pub use persistence::obstacle;
pub use server::{Bound, Order, Origins, bind, spawn};

/// The name that the daemon's proof asks for, see `daemon::proof`. It is answered from
/// [`Settings::hosts`] and leaves no line in the log.
pub fn proof_name(token: &str) -> String {
    format!("{token}.{PROOF}")
}

const PROOF: &str = "proof.snet.invalid";

/// What the resolver is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Addresses to listen on, UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Domestic name servers, asked directly.
    pub china: Vec<NameServer>,
    /// Trusted name servers.
    pub trusted: Vec<NameServer>,
    /// Whether the trusted servers are asked through the proxies.
    pub trusted_via_proxy: bool,
    /// Name servers for local names; may be empty.
    pub local: Vec<SocketAddr>,
    /// Further domains with servers of their own.
    pub forward: DomainMap<Vec<SocketAddr>>,
    /// No query waits longer in all.
    pub timeout: Duration,
    /// Bound of the cache in bytes.
    pub cache_size: usize,
    /// Lower clamp of TTLs.
    pub min_ttl: Duration,
    /// Upper clamp of TTLs.
    pub max_ttl: Duration,
    /// Query types that are answered with NODATA.
    pub block_types: Vec<u16>,
    /// Addresses that mark a forged answer.
    pub bogus: IpSet,
    /// Names answered from the file.
    pub hosts: HashMap<Name, Vec<IpAddr>>,
    /// Names with a route of their own, names that only the domestic side is asked for, and which
    /// addresses are domestic.
    pub rules: Arc<Rules>,
    /// `firewall.ipv6 = "block"`: foreign names get no AAAA.
    pub no_foreign_aaaa: bool,
    /// Further wishes.
    pub options: Options,
}

impl Settings {
    /// Whether these settings give the same answers as those: then what was answered still holds.
    /// How long is waited, how much is kept and what is logged does not matter.
    pub(super) fn answer_like(&self, other: &Settings) -> bool {
        let alike = Settings {
            listen: other.listen.clone(),
            timeout: other.timeout,
            cache_size: other.cache_size,
            rules: Arc::clone(&other.rules),
            options: Options {
                rate_limit: other.options.rate_limit,
                log_queries: other.options.log_queries,
                cache_file: other.options.cache_file.clone(),
                ..self.options.clone()
            },
            ..self.clone()
        };
        let same_rules = self.rules.names == other.rules.names
            && self.rules.china_names == other.rules.china_names
            && self.rules.china == other.rules.china;
        same_rules && alike == *other
    }
}

#[cfg(test)]
mod tests;
