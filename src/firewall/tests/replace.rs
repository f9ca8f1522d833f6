//! Other rules while traffic flows: no connection sees a state that is neither the old nor the new.

use super::installed::Handle;
use super::router_of_the_network as router;
use super::{ruleset, set};
use crate::firewall::policy::{Datagrams, Ipv6};
use crate::firewall::ruleset::Ruleset;
use crate::ipset::IpSet;
use crate::route::Route;
use snet_lab::Variant;
use snet_lab::house::House;
use snet_lab::internet::{Internet, Seen, at, connect, echoes, greet, tcp, udp};
use snet_lab::kernel::{run, sealed_for, until, variant};
use snet_lab::{in_both_variants, in_every_variant, in_variants};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

in_both_variants!(
    nothing_slips_through_while_one_table_is_mended,
    a_failure_leaves_the_old_rules,
    a_long_list_does_not_hold_up_the_heartbeat
);
in_variants!([Native] a_long_list_is_taken_in);
in_every_variant!(
    nothing_slips_through_while_the_rules_change,
    nothing_slips_through_while_the_mode_changes,
    what_was_learned_goes_on_until_it_is_forgotten,
    nothing_domestic_is_captured_while_rules_come_and_go
);

/// Addresses, and what may become of connections to each.
type Probes = &'static [(&'static str, &'static [Seen])];

/// While the rules change.
const PROBES: Probes = &[
    ("198.51.100.1", &[Seen::Captured]),
    ("203.0.113.1", &[Seen::Direct]),
    ("2001:db8:c::1", &[Seen::Direct]),
    // In China, and by turns in rules.proxy and in rules.block.
    ("203.0.113.33", &[Seen::Captured, Seen::Refused]),
    // By turns China and foreign.
    ("192.88.98.1", &[Seen::Captured, Seen::Direct]),
    // By turns proxied and blocked.
    ("2001:db8:f::1", &[Seen::Captured, Seen::Refused]),
];

/// From the machine while the mode changes: both capture it alike.
const MACHINE: Probes = &[
    ("198.51.100.1", &[Seen::Captured]),
    ("2001:db8:f::1", &[Seen::Captured]),
    ("203.0.113.1", &[Seen::Direct]),
    ("2001:db8:c::1", &[Seen::Direct]),
    ("198.51.100.65", &[Seen::Refused]),
];

/// From a LAN host, which is captured by turns.
const LAN: Probes = &[
    ("198.51.100.1", &[Seen::Captured, Seen::Direct]),
    ("2001:db8:f::1", &[Seen::Captured, Seen::Direct]),
    ("203.0.113.1", &[Seen::Direct]),
    ("2001:db8:c::1", &[Seen::Direct]),
    ("198.51.100.65", &[Seen::Refused, Seen::Direct]),
];

/// Asks all the time what becomes of connections, and counts it.
struct Prober {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<BTreeMap<(usize, String), u32>>,
}

impl Prober {
    fn start(probes: Probes, ask: impl Fn(SocketAddr) -> Seen + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut counts = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                for (index, (address, allowed)) in probes.iter().enumerate() {
                    let seen = ask(at(address, 80));
                    assert!(allowed.contains(&seen), "{address}: {seen:?}");
                    *counts.entry((index, format!("{seen:?}"))).or_default() += 1;
                }
            }
            counts
        });
        Prober { stop, thread }
    }

    fn end(self) -> BTreeMap<(usize, String), u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn our_ports() -> [std::net::UdpSocket; 2] {
    for address in [at("127.0.0.1", 1111), at("::1", 1111)] {
        greet(TcpListener::bind(address).unwrap(), b'S');
    }
    [udp(at("127.0.0.1", 1211)), udp(at("::1", 1211))]
}

fn other() -> Ruleset {
    let base = ruleset();
    base.with_rules(|rules| {
        rules.proxy = set("10.8.0.0/16 2001:db8:c:1::/64");
        rules.block = set("198.51.100.64/28 2001:db8:b::/48 203.0.113.32/28");
        rules.china = Arc::new(set("203.0.113.0/24 2001:db8:c::/48 192.88.98.0/24"));
    })
    .with(|policy| {
        policy.ipv6 = Ipv6::Block;
        policy.quic = Datagrams::Direct;
    })
}

fn nothing_slips_through_while_the_rules_change() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    let _resolvers = our_ports();
    let handle = Handle::install(ruleset()).unwrap();
    let (mut captured, _) = connect(at("198.51.100.1", 80), None).unwrap();
    let (mut direct, _) = connect(at("203.0.113.1", 80), None).unwrap();
    let prober = Prober::start(PROBES, |to| tcp(to, None));
    for round in 0..20 {
        handle.replace(if round % 2 == 0 { other() } else { ruleset() }).unwrap();
        assert!(echoes(&mut captured) && echoes(&mut direct), "a living connection, round {round}");
        thread::sleep(Duration::from_millis(50));
    }
    every_state_was_seen(PROBES, prober);
    assert_eq!(tcp(at("198.51.100.1", 80), None), Seen::Captured);
    handle.remove().unwrap();
    assert_eq!(tcp(at("198.51.100.1", 80), None), Seen::Direct);
}

/// Somebody restores filter, and nat goes on all the while.
fn nothing_slips_through_while_one_table_is_mended() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    let _resolvers = our_ports();
    let handle = Handle::install(ruleset()).unwrap();
    let (mut captured, _) = connect(at("198.51.100.1", 80), None).unwrap();
    let prober = Prober::start(PROBES, |to| tcp(to, None));
    let jumps = || run("iptables -S OUTPUT").matches("-j SNET").count();
    for _ in 0..3 {
        run("iptables -F OUTPUT");
        assert_eq!(jumps(), 0);
        until("the jumps are back", || jumps() == 2);
        assert!(echoes(&mut captured), "a living connection");
    }
    let counts = prober.end();
    assert!(counts.values().sum::<u32>() > 100, "{counts:?}");
    handle.remove().unwrap();
}

/// ipset takes entries one by one, and a slow machine takes seconds for all of them.
fn a_long_list_does_not_hold_up_the_heartbeat() {
    let handle = Handle::install(ruleset()).unwrap();
    let held_up = |first: u32| {
        let long = ruleset().with_rules(|rules| rules.proxy = addresses(first));
        let begun = Instant::now();
        thread::scope(|scope| {
            let replacing = scope.spawn(|| handle.replace(long).unwrap());
            let mut longest = Duration::ZERO;
            let mut beats = 0;
            while !replacing.is_finished() {
                let asked = Instant::now();
                handle.beat().unwrap();
                handle.learn(
                    "198.51.100.9".parse().unwrap(),
                    Route::Direct,
                    Duration::from_secs(9),
                );
                longest = longest.max(asked.elapsed());
                beats += 1;
            }
            if beats < 20 {
                return 1.0;
            }
            longest.as_secs_f64() / begun.elapsed().as_secs_f64()
        })
    };
    let parts = [0x0b00_0000, 0x0c00_0000, 0x0d00_0000].map(held_up);
    // The machine may take its time too, but not thrice.
    assert!(parts.iter().any(|part| *part < 0.3), "of the change: {parts:?}");
    handle.remove().unwrap();
}

/// The kernel commits all of it at once.
fn a_long_list_is_taken_in() {
    let handle = Handle::install(ruleset()).unwrap();
    for first in [0x0b00_0000, 0x0c00_0000] {
        handle.replace(ruleset().with_rules(|rules| rules.proxy = addresses(first))).unwrap();
    }
    handle.remove().unwrap();
}

/// Sixty thousand of them, no two of which make a prefix.
fn addresses(first: u32) -> IpSet {
    let every = (0..60_000u32).map(|n| std::net::Ipv4Addr::from(first + n * 2).into());
    every.collect::<Vec<std::net::IpAddr>>().into_iter().collect()
}

/// Domestic, whatever happens.
const DOMESTIC: Probes = &[("203.0.113.1", &[Seen::Direct]), ("2001:db8:c::1", &[Seen::Direct])];

/// With a list that takes the kernel a while.
fn nothing_domestic_is_captured_while_rules_come_and_go() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    let _resolvers = our_ports();
    let many = addresses(0x0b00_0000);
    let ours = set("203.0.113.0/24 2001:db8:c::/48");
    let v4 = many.prefixes_v4().chain(ours.prefixes_v4()).map(ipnet::IpNet::V4);
    let china = Arc::new(v4.chain(ours.prefixes_v6().map(ipnet::IpNet::V6)).collect::<IpSet>());
    let probers = [(); 3].map(|()| Prober::start(DOMESTIC, |to| tcp(to, None)));
    let rounds = if matches!(variant(), Variant::Native) { 20 } else { 3 };
    for _ in 0..rounds {
        let handle =
            Handle::install(ruleset().with_rules(|rules| rules.china = Arc::clone(&china)))
                .unwrap();
        handle.remove().unwrap();
    }
    for prober in probers {
        every_state_was_seen(DOMESTIC, prober);
    }
}

fn every_state_was_seen(probes: Probes, prober: Prober) {
    let counts = prober.end();
    let expected: usize = probes.iter().map(|(_, allowed)| allowed.len()).sum();
    assert_eq!(counts.len(), expected, "{counts:?}");
}

fn nothing_slips_through_while_the_mode_changes() {
    let house = Arc::new(House::build());
    house.internet.greet(80, b'I');
    greet(TcpListener::bind(at("::", 1111)).unwrap(), b'S');
    let local = || router().with(|policy| policy.lan = None);
    let handle = Handle::install(local()).unwrap();
    let machine = Prober::start(MACHINE, |to| tcp(to, None));
    let host = Arc::clone(&house);
    let lan = Prober::start(LAN, move |to| host.one.run(move || tcp(to, None)));
    for _ in 0..10 {
        for world in [router(), local()] {
            handle.replace(world).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
    }
    every_state_was_seen(MACHINE, machine);
    every_state_was_seen(LAN, lan);
    handle.remove().unwrap();
}

fn what_was_learned_goes_on_until_it_is_forgotten() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    let _resolvers = our_ports();
    let handle = Handle::install(ruleset()).unwrap();
    handle.learn("198.51.100.9".parse().unwrap(), Route::Direct, Duration::from_secs(600));
    handle.exempt(vec!["198.51.100.10".parse().unwrap()]);
    assert_eq!(tcp(at("198.51.100.9", 80), None), Seen::Direct);
    assert_eq!(tcp(at("198.51.100.10", 80), None), Seen::Direct);
    handle.replace(other()).unwrap();
    assert_eq!(tcp(at("198.51.100.9", 80), None), Seen::Direct, "learned");
    assert_eq!(tcp(at("198.51.100.10", 80), None), Seen::Captured, "no server any more");
    assert_eq!(tcp(at("198.51.100.80", 80), None), Seen::Direct, "a server still");
    handle.forget();
    assert_eq!(tcp(at("198.51.100.9", 80), None), Seen::Captured, "forgotten");
    handle.remove().unwrap();
}

fn a_failure_leaves_the_old_rules() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    let _resolvers = our_ports();
    let handle = Handle::install(ruleset()).unwrap();
    // The same content, and no room for more than one prefix beside it.
    run("ipset create small hash:net maxelem 3");
    for prefix in ["203.0.113.32/28", "10.8.0.0/16"] {
        run(&format!("ipset add small {prefix}"));
    }
    run("ipset swap small snet-proxy4");
    run("ipset destroy small");
    let too_many =
        other().with_rules(|rules| rules.proxy = set("11.0.0.0/8 12.0.0.0/8 2001:db8:f::/48"));
    let error = handle.replace(too_many).unwrap_err().to_string();
    assert!(error.contains("the set is full"), "{error}");
    assert_eq!(tcp(at("203.0.113.33", 80), None), Seen::Captured, "rules.proxy of before");
    assert_eq!(tcp(at("192.88.98.1", 80), None), Seen::Captured, "foreign as before");
    assert_eq!(tcp(at("2001:db8:f::1", 80), None), Seen::Captured, "IPv6 as before");
    let sets = run("ipset list snet-proxy4") + &run("ipset list snet-china4");
    assert!(!sets.contains("11.0.0.0/8") && !sets.contains("192.88.98.0/24"), "{sets}");
    handle.replace(ruleset()).unwrap();
    handle.remove().unwrap();
}
