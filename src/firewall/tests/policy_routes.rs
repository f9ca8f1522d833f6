//! The rules and routes that lead captured UDP to its listener.

use super::installed::Handle;
use super::{router_of_the_network, ruleset};
use crate::firewall::policy_routes::PolicyRoutes;
use crate::firewall::{Datagrams, Ipv6, Ruleset, cleanup};
use snet_lab::house::House;
use snet_lab::internet::{Internet, Seen, any, at, datagram, udp};
use snet_lab::kernel::{run, sealed_for, until};
use snet_lab::{in_every_variant, in_variants};

in_every_variant!(they_go_with_the_rules, they_come_and_go_with_a_reload);
in_variants!([Native] a_start_adopts_them_and_a_cleanup_removes_them, they_are_put_back,
    alone_they_are_harmless, alone_they_are_harmless_to_lan_hosts,
    a_marked_datagram_never_leaves_without_a_route);

const FOREIGN: [&str; 2] = ["198.51.100.1", "2001:db8:f::1"];

/// All rules and routes that are there.
pub(super) fn routing() -> String {
    ["ip rule", "ip -6 rule", "ip route show table all", "ip -6 route show table all"]
        .map(run)
        .concat()
}

fn capturing() -> Ruleset {
    ruleset().surveyed().with(|policy| policy.udp = Datagrams::Proxy)
}

/// What belongs to us, in this family.
fn ours(option: &str) -> String {
    let rules = run(&format!("ip {option} rule")).replace('\t', " ");
    let rules = rules.lines().filter(|line| line.starts_with("131"));
    let rules: String = rules.map(|line| format!("{line}\n")).collect();
    rules + &run(&format!("ip {option} route show table all proto 83 type local"))
}

fn they_go_with_the_rules() {
    let _internet = Internet::build();
    let before = routing();
    let handle = Handle::install(capturing()).unwrap();
    for option in ["-4", "-6"] {
        let there = ours(option);
        for expected in [
            "1310: from all fwmark 0x2000000/0x2000000 iif lo goto 1312 proto 83",
            "1311: from all fwmark 0x2000000/0x2000000 lookup 1311 proto 83",
            "1312: from all fwmark 0x4000000/0x4000000 lookup 1311 proto 83",
            "1313: from all fwmark 0x4000000/0x4000000 unreachable proto 83",
            "default dev lo table 1311",
            "default dev uplink table 1311",
        ] {
            assert!(there.contains(expected), "{expected} in {there}");
        }
        assert!(!there.contains("unresolved"), "{there}");
    }
    handle.remove().unwrap();
    assert_eq!(routing(), before);
}

fn they_come_and_go_with_a_reload() {
    let _internet = Internet::build();
    let before = routing();
    let handle = Handle::install(ruleset().surveyed()).unwrap();
    assert!(!routing().contains("1311"), "{}", routing());
    handle.replace(capturing()).unwrap();
    assert!(ours("-4").contains("1312:") && ours("-6").contains("1312:"));
    let only_v4 = capturing().with(|policy| policy.ipv6 = Ipv6::Direct);
    handle.replace(only_v4).unwrap();
    assert!(ours("-4").contains("1312:") && !ours("-6").contains("131"), "{}", ours("-6"));
    handle.replace(ruleset().surveyed()).unwrap();
    assert!(!routing().contains("1311"), "{}", routing());
    handle.remove().unwrap();
    assert_eq!(routing(), before);
}

fn a_start_adopts_them_and_a_cleanup_removes_them() {
    let _internet = Internet::build();
    let before = routing();
    // As one leaves it that was killed.
    std::mem::forget(PolicyRoutes::put(&capturing().policy).unwrap());
    let left = routing();
    assert_ne!(left, before);
    std::mem::forget(PolicyRoutes::put(&capturing().policy).unwrap());
    assert_eq!(routing(), left, "a start takes them over");
    // Rules of others beside ours, of the same priority and table.
    run("ip rule add priority 1312 fwmark 0x1 lookup 1311");
    run("ip route add local 198.51.100.77 dev lo table 1311");
    let cleaned = cleanup().unwrap().to_string();
    assert_eq!(cleaned, "removed 12 routes and routing rules of captured UDP");
    assert_eq!(cleanup().unwrap().to_string(), "nothing to clean");
    run("ip rule del priority 1312 fwmark 0x1 lookup 1311");
    run("ip route del local 198.51.100.77 dev lo table 1311");
    assert_eq!(routing(), before);
    // One that a killed snet left, and that the policy no longer needs.
    std::mem::forget(PolicyRoutes::put(&capturing().policy).unwrap());
    Handle::install(ruleset().surveyed()).unwrap().remove().unwrap();
    assert_eq!(routing(), before);
}

fn they_are_put_back() {
    let _internet = Internet::build();
    let _handle = Handle::install(capturing()).unwrap();
    let there = routing();
    for option in ["-4", "-6"] {
        for priority in 1310..=1313 {
            run(&format!("ip {option} rule del priority {priority}"));
            until("the rule that was removed", || routing() == there);
        }
        run(&format!("ip {option} rule flush table 1311"));
        until("rules that were removed", || routing() == there);
        run(&format!("ip {option} route flush table 1311"));
        until("routes that were removed", || routing() == there);
    }
    run("ip link add later type veth peer name other");
    run("ip link set other up");
    run("ip link set later up");
    until("the new device", || {
        ["-4", "-6"].iter().all(|option| ours(option).contains("default dev later table 1311"))
    });
    run("ip link del later");
    until("the device is gone", || routing() == there);
}

/// Each combination of the settings that look at the way back.
fn reverse_path_settings(holds: impl Fn(&str)) {
    for rp_filter in ["0", "1", "2"] {
        for src_valid_mark in ["0", "1"] {
            for interface in ["all", "lo", "uplink"] {
                let folder = format!("/proc/sys/net/ipv4/conf/{interface}");
                std::fs::write(format!("{folder}/rp_filter"), rp_filter).unwrap();
                std::fs::write(format!("{folder}/src_valid_mark"), src_valid_mark).unwrap();
            }
            holds(&format!("rp_filter {rp_filter}, src_valid_mark {src_valid_mark}"));
        }
    }
}

fn alone_they_are_harmless() {
    let internet = Internet::build();
    let _routes = PolicyRoutes::put(&capturing().policy).unwrap();
    reverse_path_settings(|settings| {
        for foreign in FOREIGN {
            let to = at(foreign, 4000);
            let server = internet.udp(to);
            let seen = datagram(&udp(any(to, 0)), to, &server, None);
            assert_eq!(seen, Seen::Direct, "{foreign}, {settings}");
            let bound = udp(any(to, 0));
            socket2::SockRef::from(&bound).bind_device(Some(b"uplink")).unwrap();
            assert_eq!(datagram(&bound, to, &server, None), Seen::Direct, "{foreign}, {settings}");
        }
    });
}

fn alone_they_are_harmless_to_lan_hosts() {
    let house = House::build();
    let policy = router_of_the_network().with(|policy| policy.udp = Datagrams::Proxy).policy;
    let _routes = PolicyRoutes::put(&policy).unwrap();
    reverse_path_settings(|settings| {
        for foreign in FOREIGN {
            let to = at(foreign, 4000);
            let server = house.internet.udp(to);
            let seen = datagram(&house.one.udp(any(to, 0)), to, &server, None);
            assert_eq!(seen, Seen::Direct, "{foreign}, {settings}");
        }
    });
}

fn a_marked_datagram_never_leaves_without_a_route() {
    let internet = Internet::build();
    let _routes = PolicyRoutes::put(&capturing().policy).unwrap();
    for option in ["-4", "-6"] {
        run(&format!("ip {option} route flush table 1311"));
    }
    for foreign in FOREIGN {
        let server = internet.udp(at(foreign, 4000));
        let client = udp(any(at(foreign, 4000), 0));
        socket2::SockRef::from(&client).set_mark(0x400_0000).unwrap();
        client.send_to(b"lost", at(foreign, 4000)).unwrap_err();
        server.set_nonblocking(true).unwrap();
        server.recv_from(&mut [0; 64]).unwrap_err();
    }
}
