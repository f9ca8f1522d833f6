//! From every state to installed, and back to what was there before; with neighbours.

use super::super::router;
use super::{Actor, beat_for_ever, install, listed, plays, ruleset, run, set};
use crate::firewall::Switches;
use crate::firewall::nftables::holder::Holder;
use crate::firewall::nftables::kernel_table::KernelTable;
use crate::firewall::nftables::{Error, TableOwner, available, cleanup};
use crate::firewall::policy::{Datagrams, Ipv6};
use crate::firewall::ruleset::Ruleset;
use crate::route::Route;
use ipnet::{IpNet, Ipv4Net};
use snet_lab::in_variants;
use snet_lab::internet::{Internet, Seen, any, at, connect, datagram, greet, tcp, udp};
use snet_lab::kernel::sealed_for;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

in_variants!([Native] a_table_that_was_turned_is_like_one_that_was_made, a_stop_leaves_everything_as_it_was, a_drop_removes_too, the_kernel_cleans_up_after_a_kill, nobody_else_can_touch_it, others_go_on_beside_it, two_at_once, a_kill_at_any_moment_leaves_nothing, a_plain_table_is_replaced_or_cleaned, damage_is_seen, other_rules_without_a_gap, the_china_list_is_loaded_in_one_go, more_than_a_container_may_send_is_told, without_rights_it_is_told, it_can_be_had_here);

/// What is turned into something by steps is what is made at once.
fn a_table_that_was_turned_is_like_one_that_was_made() {
    let worlds = [
        ruleset(),
        router(),
        router().with(|policy| {
            policy.ipv6 = Ipv6::Block;
            policy.quic = Datagrams::Direct;
        }),
        ruleset()
            .with_rules(|rules| rules.china = set("203.0.113.0/25").into())
            .with(|policy| policy.quic = Datagrams::Direct),
        ruleset(),
    ];
    let lines = || {
        let text = listed();
        let lasting = text.lines().filter(|line| !line.contains("progname"));
        let mut lines: Vec<String> = lasting.map(without_time).collect();
        // Sets and chains stand in the order in which they were made.
        lines.sort();
        lines
    };
    let made = worlds.clone().map(|world| {
        let handle = install(world).unwrap();
        let made = lines();
        handle.remove().unwrap();
        made
    });
    let handle = install(worlds[0].clone()).unwrap();
    for (world, made) in worlds.iter().zip(&made) {
        handle.replace(world, &[]).unwrap();
        handle.beat(Switches::CAPTURE).unwrap();
        assert_eq!(&lines(), made);
        assert!(handle.is_intact().unwrap());
    }
    handle.remove().unwrap();
    assert_eq!(listed(), "");
}

fn without_time(line: &str) -> String {
    let words = line.trim().trim_end_matches(',').split_whitespace();
    let is_time = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit()) && word.trim_end_matches(',').ends_with('s')
    };
    let words = words.filter(|word| !is_time(word) && *word != "expires");
    words.collect::<Vec<_>>().join(" ")
}

/// The rules of others, native and by way of iptables.
fn neighbours() {
    run("nft add table inet theirs");
    run("nft add chain inet theirs output { type nat hook output priority -100 ; }");
    run("nft add rule inet theirs output ip daddr 198.51.100.200 tcp dport 80 redirect to :8080");
    run("nft add table ip snet");
    run("nft add set ip snet china4 { type ipv4_addr ; flags interval ; }");
    run("iptables-nft -A OUTPUT -d 198.51.100.201 -j ACCEPT");
}

type Install = fn(TableOwner, Ruleset) -> Result<KernelTable, Error>;

/// A table with an owner would go with its socket; a plain one goes only if we remove it.
const KINDS: [Install; 2] = [KernelTable::install, KernelTable::install_plain];

fn a_stop_leaves_everything_as_it_was() {
    neighbours();
    let before = listed();
    for install in KINDS {
        let handle = install(TableOwner::open().unwrap(), ruleset()).unwrap();
        assert!(listed().contains("chain tcp6"));
        handle.release().unwrap();
        handle.remove().unwrap();
        assert_eq!(listed(), before);
    }
}

fn a_drop_removes_too() {
    neighbours();
    let before = listed();
    for install in KINDS {
        let unwound = std::panic::catch_unwind(|| {
            let _handle = install(TableOwner::open().unwrap(), ruleset()).unwrap();
            panic!("on purpose");
        });
        assert!(unwound.is_err());
        assert_eq!(listed(), before);
    }
}

/// The daemon is another process here: it has the table, the listener, and a living connection.
fn the_kernel_cleans_up_after_a_kill() {
    if plays("daemon") {
        // First of all: it is closed last.
        let owner = TableOwner::open().unwrap();
        let listener = TcpListener::bind("[::]:1111").unwrap();
        let _resolvers = [udp(at("127.0.0.1", 1211)), udp(at("::1", 1211))];
        let handle = KernelTable::install(owner, ruleset()).unwrap();
        handle.beat(Switches::CAPTURE).unwrap();
        let (mut living, _) = listener.accept().unwrap();
        living.write_all(b"S").unwrap();
        beat_for_ever(&handle);
    }
    let internet = Internet::build();
    internet.greet(80, b'I');
    let before = listed();
    for foreign in ["198.51.100.1", "2001:db8:f::1"] {
        let server_address = at(foreign, 53);
        let server = internet.udp(server_address);
        let client = udp(any(server_address, 40_000));
        let daemon = Actor::starts("daemon");
        // Captured, and never answered.
        client.send_to(b"question", server_address).unwrap();
        let (mut living, seen) = connect(at(foreign, 80), None).unwrap();
        assert_eq!(seen, Seen::Captured);
        daemon.killed();
        assert_eq!(listed(), before, "gone at once");
        assert_eq!(tcp(at(foreign, 80), None), Seen::Direct);
        assert_eq!(datagram(&client, server_address, &server, None), Seen::Direct, "a kept port");
        let told = living.read(&mut [0]);
        let is_told = match &told {
            Ok(read) => *read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(is_told, "{foreign}: the program waits for a dead connection: {told:?}");
    }
}

fn nobody_else_can_touch_it() {
    let handle = install(ruleset()).unwrap();
    for line in [
        "nft delete table inet snet",
        "nft flush chain inet snet nat4",
        "nft flush set inet snet alive",
        "nft add rule inet snet zone counter",
    ] {
        let mut words = line.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("Operation not permitted"), "{line}: {said}");
    }
    assert!(handle.is_intact().unwrap());
    run("nft flush ruleset");
    assert!(handle.is_intact().unwrap(), "a flush by others passes it by");
    handle.beat(Switches::CAPTURE).unwrap();
    handle.remove().unwrap();
    assert_eq!(listed(), "");
}

/// DNAT of others wins, whoever came first; their filters see what we left alone.
fn others_go_on_beside_it() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    greet(TcpListener::bind(at("127.0.0.1", 1111)).unwrap(), b'S');
    greet(TcpListener::bind("0.0.0.0:8080").unwrap(), b'I');
    let theirs = at("198.51.100.200", 80);
    let first = install(ruleset()).unwrap();
    assert_eq!(tcp(theirs, None), Seen::Captured);
    neighbours();
    assert_eq!(tcp(theirs, None), Seen::Direct, "they came later");
    first.remove().unwrap();
    let handle = install(ruleset()).unwrap();
    assert_eq!(tcp(theirs, None), Seen::Direct, "they came first");
    assert_eq!(tcp(at("198.51.100.1", 80), None), Seen::Captured);
    // A reject of theirs at the usual place comes after ours; what we capture is local by then.
    run("nft add chain inet theirs filter { type filter hook output priority 0 ; }");
    run("nft add rule inet theirs filter ip daddr 203.0.113.1 tcp dport 80 reject with tcp reset");
    run("nft add rule inet theirs filter ip daddr 198.51.100.1 tcp dport 80 reject with tcp reset");
    assert_eq!(tcp(at("203.0.113.1", 80), None), Seen::Refused);
    assert_eq!(tcp(at("198.51.100.1", 80), None), Seen::Captured);
    handle.remove().unwrap();
}

fn two_at_once() {
    if plays("first") {
        beat_for_ever(&install(ruleset()).unwrap());
    }
    let first = Actor::starts("first");
    let before = listed();
    let errors = [install(ruleset()).unwrap_err(), cleanup().unwrap_err()];
    for error in errors {
        let Error::Owned { holder: Holder::Process { pid, .. }, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*pid, first.pid());
        assert!(error.to_string().contains(&format!("process {pid} (")), "{error}");
    }
    let chains = |text: &str| text.matches("chain").count();
    assert_eq!(chains(&listed()), chains(&before), "the first one is not harmed");
    first.killed();
    install(ruleset()).unwrap().remove().unwrap();
    assert!(!cleanup().unwrap());
}

fn a_kill_at_any_moment_leaves_nothing() {
    if plays("restless") {
        let everything = ruleset().with_rules(|rules| rules.china = crate::ipset::china());
        loop {
            let handle = install(everything.clone()).unwrap();
            handle.replace(&ruleset(), &[]).unwrap();
            handle.beat(Switches::CAPTURE).unwrap();
            handle.learn("198.51.100.1".parse().unwrap(), Route::Direct, Duration::from_secs(1));
            handle.release().unwrap();
            handle.remove().unwrap();
        }
    }
    neighbours();
    let before = listed();
    for round in 1..=12 {
        // It installs and removes so fast that its table is hard to catch: it is not waited for.
        let restless = Actor::spawned("restless");
        // Not a time that anything depends on: every moment is as good.
        std::thread::sleep(Duration::from_millis(100 + 17 * round));
        restless.killed();
        assert_eq!(listed(), before, "round {round}");
        install(ruleset()).unwrap().remove().unwrap();
    }
}

fn a_plain_table_is_replaced_or_cleaned() {
    neighbours();
    let before = listed();
    let leave = || {
        let handle = KernelTable::install_plain(TableOwner::open().unwrap(), ruleset()).unwrap();
        assert!(handle.is_intact().unwrap());
        std::mem::forget(handle);
        assert!(!listed().contains("flags owner"));
    };
    leave();
    assert!(cleanup().unwrap());
    assert_eq!(listed(), before);
    assert!(!cleanup().unwrap());
    leave();
    let handle = install(ruleset()).unwrap();
    assert!(listed().contains("flags owner"));
    handle.remove().unwrap();
    assert_eq!(listed(), before);
}

/// Of a plain table; one with an owner cannot be damaged.
fn damage_is_seen() {
    for damage in [
        "nft flush ruleset",
        "nft flush chain inet snet tcp4",
        "nft add table inet snet { flags dormant ; }",
        "nft insert rule inet snet nat return",
        "nft add chain inet snet theirs",
    ] {
        let handle = KernelTable::install_plain(TableOwner::open().unwrap(), ruleset()).unwrap();
        assert!(handle.is_intact().unwrap());
        run(damage);
        assert!(!handle.is_intact().unwrap(), "{damage}");
        drop(handle);
        assert_eq!(listed(), "");
    }
    let damaged = KernelTable::install_plain(TableOwner::open().unwrap(), ruleset()).unwrap();
    run("nft flush ruleset");
    assert!(!damaged.forgot());
    damaged.restore().unwrap();
    assert!(damaged.forgot() && !damaged.forgot(), "what was learned is gone");
    assert!(damaged.is_intact().unwrap() && listed().contains("chain tcp4"));
    drop(damaged);
    let gone = KernelTable::install_plain(TableOwner::open().unwrap(), ruleset()).unwrap();
    run("nft flush ruleset");
    assert!(
        gone.beat(Switches::CAPTURE)
            .unwrap_err()
            .to_string()
            .contains("somebody removed our table")
    );
    gone.learn("198.51.100.1".parse().unwrap(), Route::Direct, Duration::from_secs(1));
    let other = KernelTable::install_plain(TableOwner::open().unwrap(), ruleset()).unwrap();
    assert!(!gone.is_intact().unwrap(), "one of the same name is another one");
    other.remove().unwrap();
    gone.remove().unwrap();
}

fn other_rules_without_a_gap() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    greet(TcpListener::bind(at("127.0.0.1", 1111)).unwrap(), b'S');
    let handle = install(ruleset()).unwrap();
    let seen = |address: &str| tcp(at(address, 80), None);
    handle.learn("203.0.113.9".parse().unwrap(), Route::Proxy, Duration::from_secs(60));
    let (foreign, domestic) = ("198.51.100.1", "203.0.113.1");
    for _ in 0..3 {
        let other = ruleset().with_rules(|rules| rules.china = set("198.51.100.0/24").into());
        handle.replace(&other, &[]).unwrap();
        assert_eq!((seen(foreign), seen(domestic)), (Seen::Direct, Seen::Captured));
        assert_eq!(seen("203.0.113.9"), Seen::Captured, "learned");
        assert!(handle.is_intact().unwrap());
        let block = ruleset().with_rules(|rules| rules.block = set("203.0.113.1/32"));
        handle.replace(&block, &[]).unwrap();
        assert_eq!((seen(foreign), seen(domestic)), (Seen::Captured, Seen::Refused));
        assert_eq!(seen("203.0.113.9"), Seen::Captured, "learned");
        handle.replace(&ruleset().with(|policy| policy.listeners = Vec::new()), &[]).unwrap();
        assert_eq!((seen(foreign), seen(domestic)), (Seen::Direct, Seen::Direct));
        assert!(handle.is_intact().unwrap());
        handle.replace(&ruleset(), &[]).unwrap();
    }
    let renewed = listed();
    handle.remove().unwrap();
    let handle = install(ruleset()).unwrap();
    let chains = |text: &str| text[text.find("chain zone").unwrap()..].to_string();
    assert_eq!(chains(&renewed).lines().count(), chains(&listed()).lines().count());
    handle.remove().unwrap();
}

fn the_china_list_is_loaded_in_one_go() {
    let ruleset = ruleset().with_rules(|rules| rules.china = crate::ipset::china());
    let (v4, v6) = (
        ruleset.policy.rules.china.prefixes_v4().count(),
        ruleset.policy.rules.china.prefixes_v6().count(),
    );
    let timed = |what: &str, act: &mut dyn FnMut()| {
        let before = Instant::now();
        act();
        println!("{what}: {:?}", before.elapsed());
    };
    println!("{v4} + {v6} prefixes");
    let mut handle = None;
    timed("install", &mut || handle = Some(install(ruleset.clone()).unwrap()));
    let handle = handle.unwrap();
    let table = listed();
    for address in ["1.0.1.0-1.0.3.255", "223.255.252.0/23"] {
        assert!(table.contains(address), "{address}");
    }
    timed("replace", &mut || handle.replace(&ruleset, &[]).unwrap());
    timed("beat", &mut || handle.beat(Switches::CAPTURE).unwrap());
    let mut last = 0;
    timed("256 learned", &mut || {
        for octet in 0..=255 {
            last = octet;
            let address = Ipv4Addr::new(198, 51, 100, octet).into();
            handle.learn(address, Route::Direct, Duration::from_secs(60));
        }
    });
    timed("is_intact", &mut || assert!(handle.is_intact().unwrap()));
    let mut handle = Some(handle);
    timed("remove", &mut || handle.take().unwrap().remove().unwrap());
}

/// A container may have what the system allows everybody; root of the machine has no limit.
fn more_than_a_container_may_send_is_told() {
    let most: u32 =
        std::fs::read_to_string("/proc/sys/net/core/wmem_max").unwrap().trim().parse().unwrap();
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 0));
    let single = |step: u32| Ipv4Net::new_assert(Ipv4Addr::from(first + 2 * step), 32);
    // A range takes 40 bytes, and the kernel doubles what it is asked for.
    let many = (0..most / 20 + 1).map(single).map(IpNet::V4).collect();
    let error = install(ruleset().with_rules(|rules| rules.direct = many)).map(drop).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("net.core.wmem_max"));
    assert_eq!(listed(), "");
}

fn without_rights_it_is_told() {
    if plays("nobody") {
        for error in [
            available().unwrap_err(),
            install(ruleset()).map(drop).unwrap_err(),
            cleanup().unwrap_err(),
        ] {
            assert!(error.is_permission(), "{error}");
        }
        return;
    }
    // In a user namespace below, the network is somebody else's.
    let output = Command::new("unshare")
        .args(["-U", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([std::thread::current().name().unwrap(), "--exact", "--nocapture"])
        .env(super::PART, "nobody")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn it_can_be_had_here() {
    available().unwrap();
    assert_eq!(listed(), "", "a trial leaves nothing");
    let handle = install(ruleset()).unwrap();
    available().unwrap();
    handle.remove().unwrap();
}
