//! Further wishes of the operator; [`Options::default`] is what the file says by default.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// What may be wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `dns.https-records`
    pub https_records: HttpsRecords,
    /// `dns.no-leak`: names that nobody listed are asked of the domestic side only if the trusted
    /// side says that they are domestic.
    pub no_leak: bool,
    /// `dns.no-leak-subnet`: for whom the trusted side is asked then (RFC 7871).
    pub no_leak_subnet: IpNet,
    /// `dns.rate-limit`: queries a second of one client that are answered over UDP; 0: all.
    pub rate_limit: u16,
    /// `dns.case-randomization`: what is asked over UDP is written in random case, and only replies
    /// that repeat it count (draft-vixie-dnsext-dns0x20).
    pub case_randomization: bool,
    /// `dns.log-queries`
    pub log_queries: bool,
    /// `dns.cache-file`: answers are kept there over a restart.
    pub cache_file: Option<PathBuf>,
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

impl Options {
    /// 114.114.114.0/24, in Nanjing: known to every map of the world's addresses.
    pub const NO_LEAK_SUBNET: IpNet =
        IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(114, 114, 114, 0)), 24);
    /// A busy network behind one address stays below; a flood does not.
    pub const RATE_LIMIT: u16 = 1000;
}

impl Default for Options {
    fn default() -> Self {
        Options {
            https_records: HttpsRecords::Pass,
            no_leak: false,
            no_leak_subnet: Options::NO_LEAK_SUBNET,
            rate_limit: Options::RATE_LIMIT,
            case_randomization: false,
            log_queries: false,
            cache_file: None,
        }
    }
}
