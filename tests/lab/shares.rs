//! One host of a household that opens connections without end: the others are served meanwhile.

use crate::client::{connect, echo};
use crate::counters::Counters;
use crate::peer::service;
use crate::process::{Place, sh};
use crate::router::{LAN, router};
use crate::snet::{Snet, with_files};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family, sealed_for};
use snet_lab::in_every_variant;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// Open files that snet may have, and the connections that this makes: UDP has a quarter, half of
/// the rest is set aside, and a connection takes two.
const FILES: usize = 1024;
const LIMIT: usize = 192;

in_every_variant!(one_host_leaves_room_for_the_others);

fn one_host_leaves_room_for_the_others(variant: Variant) {
    service::start();
    LAN.move_in(variant);
    sh(Place::Machine, "ip -n lan addr add 192.168.7.11/24 dev eth0");
    sh(Place::Machine, "ip -n lan addr add fd00:7::11/64 dev eth0 nodad");
    let counters = Counters::start();
    let (_server, proxy) = Upstream::Libev("aes-128-gcm").start(Family::V4);
    let config = router(Family::V4, proxy.replace("\"2s\"", "\"30s\"")).by(variant);
    let mut limited = with_files(variant, FILES);
    let mut snet = Snet::ready(limited.arg("-c").arg(config.write()));

    let greedy = open(v4("192.168.7.10"), LIMIT * 2);
    assert_eq!(greedy.len(), LIMIT - LIMIT / 4, "one host");
    let told = |snet: &Snet| {
        let lines = snet.lines("WARN");
        lines.iter().filter(|line| line.contains("192.168.7.10 holds 144 of")).count()
    };
    assert_eq!(told(&snet), 1, "{}", snet.log());
    // A host beside it, in both families, and the router itself.
    assert_eq!(open(v4("192.168.7.11"), 20).len(), 20, "{}", snet.log());
    let neighbours =
        ["fd00:7::10", "fd00:7::11"].map(|host| open(host.parse().expect("IPv6"), 8).len());
    assert_eq!(neighbours, [8, 8], "{}", snet.log());
    echo(&mut connect(FOREIGN_SITE.port(Family::V4, service::ECHO)), b"hello").expect("an echo");
    assert!(open(v4("192.168.7.10"), 5).is_empty(), "it has its share");
    assert_eq!(told(&snet), 1, "it is said once");

    drop(greedy);
    wait::until("the host is served again", Duration::from_secs(10), || {
        open(v4("192.168.7.10"), 20).len() == 20
    });
    assert_eq!(counters.leaked(), 0);
    snet.assert_alive();
    snet.stop();
}

fn v4(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

/// Connections of this LAN host to the echo service, as many of `wanted` as are served.
fn open(host: IpAddr, wanted: usize) -> Vec<TcpStream> {
    let dialling = thread::spawn(move || {
        let namespace = std::fs::File::open(format!("/run/netns/{}", LAN.namespace));
        let namespace = namespace.expect("the host exists");
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("it is ours");
        let dial = |_| dial(host).ok();
        (0..wanted).filter_map(dial).collect()
    });
    dialling.join().expect("no thread dies")
}

fn dial(host: IpAddr) -> io::Result<TcpStream> {
    let family = if host.is_ipv4() { Family::V4 } else { Family::V6 };
    let site = FOREIGN_SITE.port(family, service::ECHO);
    let socket = Socket::new(Domain::for_address(site), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(host, 0).into())?;
    socket.connect_timeout(&site.into(), Duration::from_secs(20))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    echo(&mut stream, b"hello")?;
    Ok(stream)
}
