//! How connections to a proxy server are made: TCP Fast Open and multipath TCP. The kernel's
//! counters (proc(5), /proc/net/netstat) tell what happened on the wire.

use crate::client::{connect, echo};
use crate::peer::service;
use crate::snet::{Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{FOREIGN_SITE, Family, in_internet, sealed};
use std::fs;

const CONNECTIONS: u64 = 5;

/// net.ipv4.tcp_fastopen: clients, servers, and every listener without asking.
const ALLOWED: &str = "1027";

#[test]
fn the_header_of_shadowsocks_leaves_in_the_syn() {
    sealed(|| fast_open(Upstream::Libev("aes-256-gcm"), ALLOWED, CONNECTIONS - 1));
}

#[test]
fn the_request_of_http_leaves_in_the_syn() {
    sealed(|| fast_open(Upstream::Tinyproxy, ALLOWED, CONNECTIONS - 1));
}

#[test]
fn a_server_without_fast_open_is_reached_as_ever() {
    sealed(|| fast_open(Upstream::Libev("aes-256-gcm"), "0", 0));
}

/// The first connection fetches the server's cookie, the others use it.
fn fast_open(upstream: Upstream, allowed: &'static str, in_the_syn: u64) {
    in_internet(|| fs::write("/proc/sys/net/ipv4/tcp_fastopen", allowed).expect("its owner may"));
    echoes(upstream, "fast-open = true");
    let counted = counter("TcpExt", "TCPFastOpenActive");
    // Questions of snet's own, whether the proxy answers, are dialled in the same way.
    let is_right = if in_the_syn == 0 { counted == 0 } else { counted >= in_the_syn };
    assert!(is_right, "{counted} and not {in_the_syn}");
}

#[test]
fn multipath_is_asked_for_and_plain_tcp_is_taken() {
    sealed(|| {
        // Where the machine is slow the server looks far away.
        echoes(Upstream::Libev("aes-256-gcm"), "multipath = true\nwarm = \"off\"");
        if fs::read_to_string("/proc/sys/net/mptcp/enabled").is_ok_and(|text| text.trim() == "1") {
            // Questions whether the proxy answers come besides.
            let counted = counter("MPTcpExt", "MPCapableSYNTX");
            assert!(counted >= CONNECTIONS, "{counted}");
        }
    });
}

fn echoes(upstream: Upstream, manner: &str) {
    service::start();
    let (_server, proxy) = upstream.start(Family::V4);
    let snet =
        Snet::start(Variant::Nft, &Config::through(Family::V4, &[format!("{proxy}{manner}\n")]));
    for number in 0..CONNECTIONS {
        let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
        echo(&mut stream, format!("connection {number}").as_bytes()).expect("an echo");
        echo(&mut stream, &vec![7; 300_000]).expect("a longer echo");
    }
    snet.stop();
}

/// A counter of the machine's network namespace.
fn counter(group: &str, name: &str) -> u64 {
    let text = fs::read_to_string("/proc/net/netstat").expect("proc is mounted");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(&format!("{group}: ")));
    let (names, values) = (lines.next().expect("the names"), lines.next().expect("the values"));
    let pair = names.split(' ').zip(values.split(' ')).find(|(found, _)| *found == name);
    pair.and_then(|(_, value)| value.parse().ok()).expect("the kernel counts that")
}
