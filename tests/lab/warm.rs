//! Connections to a proxy that are dialled before they are needed, by the real daemon to real
//! servers. Those of the lab are near; a fault has snet take them for far ones.

use crate::client::{connect, echo};
use crate::peer::service;
use crate::snet::{Config, Snet, snet};
use crate::upstream::{UPSTREAMS, Upstream};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family, PROXY, sealed};
use std::fs;
use std::thread;
use std::time::Duration;

/// Connections at once.
const CROWD: usize = 8;

#[test]
fn servers_take_them_and_nothing_is_left_of_them() {
    sealed(|| {
        service::start();
        UPSTREAMS.into_iter().for_each(through);
    });
}

fn through(upstream: Upstream) {
    let (server, proxy) = upstream.start(Family::V4);
    let config = Config::through(Family::V4, &[proxy]).by(Variant::Nft);
    let mut command = snet(Variant::Nft);
    let snet = Snet::ready(command.env("SNET_FAULT", "far").arg("-c").arg(config.write()));
    // Where the machine stands still for a while, they have come to their end.
    let are_ready = (0..5).any(|_| {
        crowd();
        // The connections of the crowd end meanwhile.
        thread::sleep(Duration::from_secs(2));
        (1..=CROWD).contains(&to_the_proxy())
    });
    assert!(are_ready, "{} connections are there", to_the_proxy());
    wait::until("no connection to the proxy", Duration::from_secs(15), || to_the_proxy() == 0);
    for _ in 0..3 {
        crowd();
    }
    // All that are ready end.
    drop(server);
    let (_server, _) = upstream.start(Family::V4);
    crowd();
    let mut warnings = snet.lines("WARN");
    // There is no name server, of which the proxies are asked too, and not every one carries UDP.
    let is_expected =
        |line: &String| ["name server", "(asked for", "UDP"].iter().any(|what| line.contains(what));
    warnings.retain(|line| !is_expected(line));
    assert_eq!(warnings, [""; 0]);
    snet.stop();
}

/// Some connections at once, all of which have to work.
fn crowd() {
    let clients = (0..CROWD).map(|number| {
        thread::spawn(move || {
            let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
            echo(&mut stream, format!("connection {number}").as_bytes()).expect("an echo");
            echo(&mut stream, &vec![7; 100_000]).expect("a longer echo");
        })
    });
    let clients: Vec<_> = clients.collect();
    clients.into_iter().for_each(|client| client.join().expect("it echoes"));
}

/// How many connections of this machine to the proxy's host stand (proc(5), /proc/net/tcp).
fn to_the_proxy() -> usize {
    let std::net::IpAddr::V4(proxy) = PROXY.ip(Family::V4) else { panic!("no address of IPv4") };
    let proxy = format!("{:08X}:", u32::from_ne_bytes(proxy.octets()));
    let table = fs::read_to_string("/proc/net/tcp").expect("proc is mounted");
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let stand = lines.filter(|fields| {
        fields.get(2).is_some_and(|remote| remote.starts_with(&proxy))
            && fields.get(3) == Some(&"01")
    });
    stand.count()
}
