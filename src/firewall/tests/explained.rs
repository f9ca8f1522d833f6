//! What `snet explain` says of an address is what then happens to a connection: the daemon's rules,
//! the kernel's sets and the kernel itself agree, over random lists.
//!
//! 10,000 connections, in the three variants together; `SNET_CASES` is how many each of them
//! tries.

use super::installed::Handle;
use super::ruleset;
use super::traffic::redirect_port;
use crate::firewall::policy::Ipv6;
use crate::ipset::IpSet;
use crate::route::{Learned, Route};
use crate::target::Target;
use ipnet::IpNet;
use snet_lab::in_every_variant;
use snet_lab::internet::{Internet, Seen, tcp};
use snet_lab::kernel::sealed_for;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

in_every_variant!(what_is_explained_happens);

const CASES: &str = "SNET_CASES";
const FEW: usize = 3400;

/// Connections with one set of lists.
const BATCH: usize = 250;

/// SplitMix64: the same cases each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// One of 256, in a range for documentation or a reserved one.
    fn address(&mut self) -> IpAddr {
        let last = u8::try_from(self.roll(256)).unwrap();
        match self.roll(4) {
            0 => Ipv4Addr::new(198, 51, 100, last).into(),
            1 => Ipv4Addr::new(10, 9, 0, last).into(),
            2 => Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, last.into()).into(),
            _ => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into(),
        }
    }

    /// Prefixes of all lengths around such addresses.
    fn list(&mut self) -> IpSet {
        let count = self.roll(6);
        let prefix = |_| {
            let address = self.address();
            let width = if address.is_ipv4() { 32 } else { 128 };
            let length = width - u8::try_from(self.roll(8)).unwrap();
            IpNet::new(address, length).unwrap().trunc()
        };
        (0..count).map(prefix).collect()
    }

    fn route(&mut self) -> Route {
        [Route::Block, Route::Proxy, Route::Direct][usize::try_from(self.roll(3)).unwrap()]
    }
}

fn what_is_explained_happens() {
    let cases = std::env::var(CASES).map_or(FEW, |cases| cases.parse().unwrap());
    let internet = Internet::build();
    internet.greet(80, b'I');
    redirect_port();
    let mut dice = Dice(1);
    let base = || ruleset().with_rules(|rules| *rules = crate::route::Rules::default());
    let handle = Handle::install(base()).unwrap();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut tried = 0;
    while tried < cases {
        let ipv6 = [Ipv6::Proxy, Ipv6::Proxy, Ipv6::Direct, Ipv6::Block];
        let ipv6 = ipv6[usize::try_from(dice.roll(4)).unwrap()];
        let mut ruleset = base().with(|policy| policy.ipv6 = ipv6).with_rules(|rules| {
            rules.block = dice.list();
            rules.proxy = dice.list();
            rules.direct = dice.list();
            rules.reserved = crate::ipset::reserved();
            rules.china = Arc::new(dice.list());
        });
        let servers: Vec<IpAddr> = (0..dice.roll(4)).map(|_| dice.address()).collect();
        ruleset.environment.servers.clone_from(&servers);
        handle.replace(ruleset.clone()).unwrap();
        handle.forget();
        let learned = Learned::default();
        for _ in 0..BATCH.min(cases - tried) {
            let hour = Duration::from_secs(3600);
            if dice.roll(3) == 0 {
                let (address, route) = (dice.address(), dice.route());
                learned.learn(address, route, hour);
                handle.learn(address, route, hour);
            }
            let address = dice.address();
            let to = SocketAddr::new(address, 80);
            let rules = &ruleset.policy.rules;
            let decided = rules.route(&Target::addr(to), &learned, Instant::now()).route;
            let kernel = handle.look_up(address);
            let happened = match tcp(to, None) {
                Seen::Captured => Route::Proxy,
                Seen::Direct => Route::Direct,
                Seen::Refused => Route::Block,
            };
            let what = format!("{address}: {kernel:?}, {ipv6:?}, {:?}", ruleset.policy.rules);
            assert!(kernel.acts, "{what}");
            assert_eq!(kernel.route, happened, "{what}");
            // Of these the daemon's rules do not know, and then `explain` says so.
            let foreign_ipv6 = address.is_ipv6() && ipv6 != Ipv6::Proxy;
            if !servers.contains(&address) && !foreign_ipv6 {
                assert_eq!(decided, happened, "{what}");
            }
            *seen.entry(kernel.sets.first().copied().unwrap_or("none")).or_default() += 1;
            tried += 1;
        }
    }
    assert!(seen.len() >= 8, "a poor choice of cases: {seen:?}");
    handle.remove().unwrap();
}
