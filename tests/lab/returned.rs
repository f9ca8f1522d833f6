//! Connections of snet's own that come back to it. While domestic addresses are missing in the
//! kernel's set snet itself dials what was redirected for that reason, and the same destination is
//! redirected and dialled.

use crate::client::{echo, try_connect};
use crate::flushed::shell;
use crate::peer::service;
use crate::process::{Place, run};
use crate::snet::{self, Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_SITE, Family, in_internet, sealed_for};
use snet_lab::in_both_variants;
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);
/// No service of the lab is here.
const LATER: u16 = 4444;
/// The local port of a connection that is refused. Even, as connect(2) prefers
/// (__inet_hash_connect).
const REFUSED: u16 = 20_000;
/// The local port of one that is served.
const SERVED: u16 = 30_000;
/// net/netfilter/nf_conntrack_proto_tcp.c: so long conntrack keeps what was reset, less what this
/// takes.
const REMEMBERED: Duration = Duration::from_secs(8);

fn start(variant: Variant) -> Snet {
    service::start();
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let mut config = Config::through(Family::V4, &[proxy]).by(variant);
    config.top.push("log.level = \"debug\"".into());
    Snet::ready(snet::snet(variant).arg("-c").arg(config.write()))
}

/// Until snet finds that it is gone. It looks once more soon after its start.
fn redirect_domestic(variant: Variant) {
    wait::until("the set stays empty", PATIENCE, || {
        shell(
            variant,
            "ipset list snet-china4 | sed -n 's/^[0-9][^ ]*/del snet-china4 &/p' | ipset restore",
        );
        thread::sleep(Duration::from_millis(200));
        let set = run(Place::Machine, "ipset", &["list", "snet-china4"]);
        set.contains("Number of entries: 0")
    });
}

fn connect_from(port: u16, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// conntrack takes a connection for another one between the same ends that snet reset, and
/// translates it like that one (findings/reset_connection_lends_its_translation.sh).
fn a_translation_is_inherited(variant: Variant) {
    let daemon = start(variant);
    let site = DOMESTIC_SITE.port(Family::V4, LATER);
    redirect_domestic(variant);
    let heard = connect_from(REFUSED, site).and_then(|mut stream| stream.read(&mut [0]));
    let error = heard.expect_err("nobody listens there").kind();
    assert_eq!(error, io::ErrorKind::ConnectionReset, "by snet, which had accepted");
    let reset = Instant::now();
    let listener = in_internet(|| TcpListener::bind(site)).expect("the port is free");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("snet comes");
        io::Write::write_all(&mut stream, b"!").expect("snet reads");
        stream
    });
    // The next dial takes the first of them, the one after it the other.
    let range = format!("{REFUSED} {}", REFUSED + 1);
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).expect("the namespace is ours");
    redirect_domestic(variant);
    let mut stream = connect_from(SERVED, site).expect("snet accepts");
    stream.read_exact(&mut [0]).unwrap_or_else(|error| panic!("{error}: {}", daemon.log()));
    drop((stream, server.join()));
    assert!(reset.elapsed() < REMEMBERED, "it took {:?}", reset.elapsed());
    let log = daemon.whole_log();
    assert!(log.contains("came back, and is dialled again"), "none had such a port: {log}");
    assert_eq!(daemon.lines("ERROR"), [""; 0], "{log}");
    daemon.stop();
}

/// A loop, which ends with the second dial.
fn the_mark_is_overwritten(variant: Variant) {
    let daemon = start(variant);
    let site = DOMESTIC_SITE.port(Family::V4, service::ECHO);
    let rule = format!("mangle -A OUTPUT -p tcp -d {} -j MARK --set-mark 0", site.ip());
    shell(variant, &format!("iptables -t {rule}"));
    redirect_domestic(variant);
    for _ in 0..3 {
        let heard = try_connect(site).and_then(|mut stream| echo(&mut stream, b"hello"));
        assert!(heard.is_err(), "there is no way out");
    }
    let told = daemon.lines("ERROR");
    assert!(told.len() == 1 && told[0].contains("overwrites the mark"), "{}", daemon.log());
    let dialled = daemon.whole_log().matches("dialled again").count();
    assert_eq!(dialled, 3, "once for each: {}", daemon.log());
    wait::until("nothing is left of it", PATIENCE, || daemon.descriptors() < 64);
    daemon.stop();
}

in_both_variants!(a_translation_is_inherited, the_mark_is_overwritten);
