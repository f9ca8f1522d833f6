//! Addresses of the pages that Chinese providers put into the place of sites which they call
//! fraudulent (反诈, anti-fraud): a domestic address for a foreign name, so that the judgement
//! would believe it. `dns.bogus` has them by default, as "known".
//!
//! Each was reported in public by at least two people who do not cite each other, and shown there
//! as the answer for names that live elsewhere (github.com, registry mirrors, Cloudflare's
//! tunnels). Read in November 2026; the years are those of the reports. An address that serves a
//! page is no content network's, so what is lost if one is reassigned is small: the trusted side
//! is asked for a name that has it.

use crate::ipset::IpSet;
use std::net::{IpAddr, Ipv4Addr};

/// Address, and what reports say of where it is.
const PAGES: [([u8; 4], &str); 10] = [
    // misakaio/chnroutes2, issue 42 (2022), and others.
    ([182, 43, 124, 6], "Guizhou"),
    // sbwml/luci-app-mosdns, issue 281 (2024 to 2025), and others.
    ([221, 228, 32, 13], "Jiangsu"),
    ([61, 160, 148, 90], "Jiangsu"),
    ([183, 192, 65, 101], "Shanghai"),
    ([124, 236, 16, 201], "Hebei"),
    ([223, 75, 236, 241], "Hubei"),
    ([106, 74, 25, 198], "Inner Mongolia"),
    ([39, 102, 194, 95], "Alibaba Cloud"),
    ([183, 252, 183, 9], "Fujian"),
    ([183, 252, 183, 98], "Fujian"),
];

/// All of them.
pub fn known() -> IpSet {
    PAGES.iter().map(|(address, _)| IpAddr::from(Ipv4Addr::from(*address))).collect()
}
