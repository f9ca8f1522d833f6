//! Somebody flushes rules while proxied connections live, on a machine where nobody else needs
//! conntrack.

use super::installed::Handle;
use super::router::{FOREIGN, our_ports};
use super::router_of_the_network as router;
use super::ruleset;
use snet_lab::Variant;
use snet_lab::house::House;
use snet_lab::internet::{Internet, Seen, at, connect, echoes, greet};
use snet_lab::kernel::{run, sealed_for, until, variant};
use snet_lab::{in_every_variant, in_variants};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

in_every_variant!(
    connections_of_this_machine_live_over_each_flush,
    connections_of_the_lan_live_over_each_flush
);
in_variants!([Nft, Native] connections_of_this_machine_live_over_each_flush_by_nft, connections_of_the_lan_live_over_each_flush_by_nft);

const TOOLS: [&str; 2] = ["iptables", "ip6tables"];

/// What operators and their scripts do. A word of its own is a family's tool.
const FLUSHES: [&[&str]; 4] = [
    &["-t nat -F"],
    &["-t nat -F", "-t nat -X"],
    &["-t nat -F", "-t raw -F", "-t filter -F"],
    &["-t nat -F", "-t nat -X", "-t raw -F", "-t raw -X", "-t filter -F", "-t filter -X"],
];

const NATIVE_FLUSHES: [&[&str]; 3] = [
    &["flush table ip nat", "flush table ip6 nat"],
    &["delete table ip nat", "delete table ip6 nat"],
    &["flush ruleset"],
];

fn is_whole() -> bool {
    matches!(variant(), Variant::Native)
        || TOOLS.iter().all(|tool| {
            let saved = run(&format!("{tool}-save"));
            ["nat", "filter", "raw"].iter().all(|table| {
                let part = saved.split(&format!("*{table}\n")).nth(1).unwrap_or_default();
                let part = part.split("COMMIT").next().unwrap_or_default();
                part.contains("-A OUTPUT") && part.contains("-j SNET\n")
            })
        })
}

/// Each of them, and between them the rules are put back.
fn flush_each(mut live: impl FnMut(&str)) {
    for flush in FLUSHES {
        for tool in TOOLS {
            flush.iter().for_each(|act| drop(run(&format!("{tool} {act}"))));
        }
        live(&flush.join("; "));
        until("the rules are back", is_whole);
    }
    // An empty file is loaded.
    for tool in TOOLS {
        let mut command = Command::new(format!("{tool}-restore"));
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let text = "*nat\nCOMMIT\n*raw\nCOMMIT\n*filter\nCOMMIT\n";
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
    live("restore");
    until("the rules are back", is_whole);
}

fn flush_each_by_nft(mut live: impl FnMut(&str)) {
    for flush in NATIVE_FLUSHES {
        for act in flush {
            // nftables has none of these tables.
            if !matches!(variant(), Variant::Native) || *act == "flush ruleset" {
                run(&format!("nft {act}"));
            }
        }
        live(&flush.join("; "));
        until("the rules are back", is_whole);
    }
}

fn captured(to: &'static str) -> TcpStream {
    let (stream, seen) = connect(at(to, 80), None).unwrap();
    assert_eq!(seen, Seen::Captured, "{to}");
    stream
}

fn connections_of_this_machine_live_over_each_flush() {
    on_this_machine(|live| flush_each(live));
}

fn connections_of_this_machine_live_over_each_flush_by_nft() {
    on_this_machine(|live| flush_each_by_nft(live));
}

fn connections_of_the_lan_live_over_each_flush() {
    of_the_lan(|live| flush_each(live));
}

fn connections_of_the_lan_live_over_each_flush_by_nft() {
    of_the_lan(|live| flush_each_by_nft(live));
}

fn on_this_machine(flush: impl FnOnce(&mut dyn FnMut(&str))) {
    let internet = Internet::build();
    internet.greet(80, b'I');
    for address in ["127.0.0.1", "::1"] {
        greet(TcpListener::bind(at(address, 1111)).unwrap(), b'S');
    }
    let handle = Handle::install(ruleset()).unwrap();
    live_over(flush, FOREIGN.map(captured));
    let _ = FOREIGN.map(captured);
    handle.remove().unwrap();
}

fn of_the_lan(flush: impl FnOnce(&mut dyn FnMut(&str))) {
    let house = House::build();
    house.internet.greet(80, b'I');
    our_ports();
    // Nobody else needs conntrack.
    run("iptables -t nat -F POSTROUTING");
    let handle = Handle::install(router()).unwrap();
    live_over(flush, FOREIGN.map(|to| house.one.run(move || captured(to))));
    handle.remove().unwrap();
}

fn live_over(flush: impl FnOnce(&mut dyn FnMut(&str)), mut streams: [TcpStream; 2]) {
    flush(&mut |what| {
        for stream in &mut streams {
            assert!(echoes(stream), "{what}: {stream:?}");
        }
    });
}
