//! Programs that are bound to a device: curl with `--interface`, and a resolver of their own. They
//! are served like everybody, and nothing to a loopback address is on the wire.

use crate::client::curl;
use crate::counters::Counters;
use crate::peer::{names, service};
use crate::process::{FOLDER, Place, run};
use crate::question::{Answer, kind, query, read};
use crate::snet::{self, Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, SYSTEM_NAMES, sealed_for};
use snet_lab::in_every_variant;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

in_every_variant!(bound_programs);

fn bound_programs(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, proxy) = Upstream::Tinyproxy.start(Family::V4);
    let file = Path::new(FOLDER).join("hello");
    fs::write(&file, "hello").expect("the tmpfs is writable");
    let counters = Counters::start();
    count_strays();
    let routes = || run(Place::Machine, "ip", &["route", "show", "table", "all"]);
    let before = routes();
    let config = Config::through(Family::V4, &[proxy]).by(variant).write();
    let daemon = || Snet::ready(snet::snet(variant).arg("-c").arg(&config));
    let snet = daemon();
    for (number, family) in (1..).zip(FAMILIES) {
        for (site, captured) in [(FOREIGN_SITE, number), (DOMESTIC_SITE, number)] {
            let url = format!("http://{}/", site.port(family, service::UPLOAD));
            let sent = ["--interface", "uplink", "--max-time", "20", "-T"];
            let sent = curl(&[&sent[..], &[&file.display().to_string(), &url]].concat());
            assert!(sent.status.success(), "{url}: {}", sent.stderr);
            assert_eq!(counters.captured(), captured, "{url}");
        }
        assert_eq!(ask(family).addresses, [FOREIGN_SITE.ip(family)], "by snet, and the true one");
    }
    assert_eq!(counters.leaked(), 0);
    assert_eq!(strays(), 0);
    snet.stop();
    assert_eq!(routes(), before);

    daemon().kill();
    assert_ne!(routes(), before, "a SIGKILL leaves the routes, which lead nowhere else");
    let cleaned = snet::run(variant, &["cleanup"]);
    assert!(cleaned.stdout.contains("local routes"), "{}", cleaned.stdout);
    assert_eq!(routes(), before);
}

/// Asks the system's name server by a socket that is bound to the uplink.
fn ask(family: Family) -> Answer {
    let any = if family == Family::V4 { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket2::SockRef::from(&socket).bind_device(Some(b"uplink")).expect("root may");
    socket.connect(SYSTEM_NAMES.port(family, 53)).expect("a way");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    socket.send(&query(7, "foreign.example", kind(family))).expect("it is sent");
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).expect("an answer");
    read(&buffer[..length])
}

fn count_strays() {
    let file = Path::new(FOLDER).join("strays.nft");
    let text = "table inet strays {
        chain out { type filter hook postrouting priority 400;
            ip daddr 127.0.0.0/8 oifname != lo counter
            ip6 daddr ::1 oifname != lo counter
        }
    }";
    fs::write(&file, text).expect("the tmpfs is writable");
    run(Place::Machine, "nft", &["-f", &file.display().to_string()]);
}

/// Packets to a loopback address that left by another device than `lo`.
fn strays() -> u64 {
    let listed = run(Place::Machine, "nft", &["list", "table", "inet", "strays"]);
    let counts = listed.split("packets ").skip(1).map(|rest| rest.split(' ').next());
    counts.flatten().map(|number| number.parse::<u64>().expect("a number")).sum()
}
