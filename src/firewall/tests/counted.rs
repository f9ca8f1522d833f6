//! What the kernel sends directly is counted, both ways, and nothing else is.

use super::installed::Handle;
use super::traffic::redirect_port;
use super::{router_of_the_network, ruleset, set};
use crate::family::Family;
use crate::firewall::direct::{DirectBytes, DirectCounts, DirectReason, DirectSums};
use crate::firewall::policy::Policy;
use crate::firewall::ruleset::Ruleset;
use crate::mark::Fwmark;
use crate::route::Route;
use snet_lab::house::House;
use snet_lab::in_every_variant;
use snet_lab::internet::{Internet, Seen, any, at, connect, datagram, udp};
use snet_lab::kernel::sealed_for;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

in_every_variant!(
    each_reason_has_its_bytes,
    what_is_captured_or_our_own_is_not_counted,
    hosts_of_the_lan_are_counted,
    sums_outlive_other_rules
);

const BULK: usize = 5000;

/// With headers, handshakes and acknowledgements of each byte that the far end returns.
const ABOUT: Range<u64> = BULK as u64..BULK as u64 * 100;

/// Of each family.
const DOMESTIC: [&str; 2] = ["203.0.113.1", "2001:db8:c::1"];

fn counting(policy: &mut Policy) {
    policy.counts_direct = true;
}

fn rules() -> Ruleset {
    ruleset().with(counting)
}

/// The far end returns what it gets.
fn exchange(stream: &mut TcpStream) {
    let mut back = vec![0; BULK];
    stream.write_all(&back).unwrap();
    stream.read_exact(&mut back).unwrap();
}

fn talk(address: &str, mark: Option<u32>) -> Seen {
    let (mut stream, seen) = connect(at(address, 80), mark).unwrap();
    if seen == Seen::Direct {
        exchange(&mut stream);
    }
    seen
}

fn is_about(bytes: DirectBytes) -> bool {
    ABOUT.contains(&bytes.up) && ABOUT.contains(&bytes.down)
}

/// The kinds that have any bytes.
fn kinds(counts: &DirectCounts) -> Vec<(DirectReason, Family)> {
    let all = counts.all().filter(|(_, _, bytes)| *bytes != DirectBytes::default());
    all.map(|(reason, family, _)| (reason, family)).collect()
}

fn each_reason_has_its_bytes() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    let handle = Handle::install(rules()).unwrap();
    assert_eq!(kinds(&handle.direct()), []);
    let hour = Duration::from_secs(3600);
    for (family, addresses) in [
        (Family::V4, ["203.0.113.1", "198.51.100.33", "198.51.100.7", "10.9.0.1"]),
        (Family::V6, ["2001:db8:c::1", "2001:db8:d::1", "2001:db8:f::7", "fd00::1"]),
    ] {
        handle.learn(addresses[2].parse().unwrap(), Route::Direct, hour);
        let reasons =
            [DirectReason::Domestic, DirectReason::Rule, DirectReason::Name, DirectReason::Private];
        for (address, reason) in addresses.into_iter().zip(reasons) {
            let before = handle.direct();
            assert_eq!(talk(address, None), Seen::Direct, "{address}");
            let counts = handle.direct();
            assert!(is_about(counts.of(reason, family)), "{address}: {counts:?}");
            for (of, at, bytes) in counts.all().filter(|(of, at, _)| (*of, *at) != (reason, family))
            {
                // The ends of earlier connections may come late.
                let grown = bytes.up - before.of(of, at).up;
                assert!(grown < 500, "{address}: {of:?} {grown}");
            }
        }
        // No proxy carries UDP.
        let foreign = at(if family == Family::V4 { "198.51.100.9" } else { "2001:db8:f::9" }, 9999);
        let server = internet.udp(foreign);
        let client = udp(any(foreign, 0));
        assert_eq!(datagram(&client, foreign, &server, None), Seen::Direct);
        let bytes = handle.direct().of(DirectReason::Foreign, family);
        assert!((30..100).contains(&bytes.up) && (30..100).contains(&bytes.down), "{bytes:?}");
    }
    handle.remove().unwrap();
}

fn what_is_captured_or_our_own_is_not_counted() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    redirect_port();
    let handle = Handle::install(rules()).unwrap();
    for address in DOMESTIC {
        assert_eq!(talk(address, Some(Fwmark::SNET.value())), Seen::Direct);
    }
    for address in ["198.51.100.1", "2001:db8:f::1"] {
        assert_eq!(talk(address, None), Seen::Captured);
    }
    assert_eq!(talk("192.0.2.1", None), Seen::Direct, "on the link");
    assert_eq!(kinds(&handle.direct()), []);
    handle.remove().unwrap();
}

fn hosts_of_the_lan_are_counted() {
    let house = House::build();
    house.internet.greet(80, b'I');
    let handle = Handle::install(router_of_the_network().with(counting)).unwrap();
    for (address, family) in DOMESTIC.into_iter().zip(Family::ALL) {
        assert_eq!(house.one.run(move || talk(address, None)), Seen::Direct);
        let bytes = handle.direct().of(DirectReason::Domestic, family);
        assert!(is_about(bytes), "{bytes:?}");
        // This machine's own beside them.
        assert_eq!(talk(address, None), Seen::Direct);
        assert!(handle.direct().of(DirectReason::Domestic, family).up > bytes.up + BULK as u64);
    }
    handle.remove().unwrap();
}

fn sums_outlive_other_rules() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    let handle = Handle::install(rules()).unwrap();
    let (mut stream, _) = connect(at(DOMESTIC[0], 80), None).unwrap();
    let mut sums = DirectSums::default();
    let grown = |sums: &mut DirectSums, why: &str| {
        let before = sums.sums().of(DirectReason::Domestic, Family::V4);
        let now = sums.take(&handle.direct()).of(DirectReason::Domestic, Family::V4);
        let grown = DirectBytes { up: now.up - before.up, down: now.down - before.down };
        assert!(is_about(grown), "{why}: {grown:?}");
    };
    exchange(&mut stream);
    grown(&mut sums, "at first");
    handle.replace(rules().with_rules(|rules| rules.block = set("198.51.100.99/32"))).unwrap();
    exchange(&mut stream);
    grown(&mut sums, "other sets");
    let quic = rules().with(|policy| policy.ipv6 = crate::firewall::Ipv6::Block);
    handle.replace(quic).unwrap();
    exchange(&mut stream);
    grown(&mut sums, "other rules");
    let uncounted = ruleset();
    handle.replace(uncounted).unwrap();
    assert!(!handle.counts());
    sums.begin_anew();
    exchange(&mut stream);
    handle.replace(rules()).unwrap();
    exchange(&mut stream);
    grown(&mut sums, "the label is still on the connection");
    handle.remove().unwrap();
}
