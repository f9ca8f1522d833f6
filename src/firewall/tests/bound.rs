//! Programs that are bound to a device (SO_BINDTODEVICE). What must not happen is counted at the
//! other end of the wire.

use super::installed::Handle;
use super::ruleset;
use crate::firewall::device_routes::Routes;
use crate::firewall::{Ruleset, cleanup};
use snet_lab::in_every_variant;
use snet_lab::internet::{Internet, Seen, any, at, datagram, echoes, greet, udp};
use snet_lab::kernel::{run, sealed_for, until};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

in_every_variant!(
    programs_bound_to_a_device_are_captured,
    a_device_that_comes_later_is_followed,
    the_routes_go_with_the_rules
);

const FOREIGN: [(&str, &str); 2] = [("198.51.100.1", "127.0.0.1"), ("2001:db8:f::1", "::1")];

/// Counts what is addressed to a loopback address: here, where it leaves, and there, where the wire
/// ends. (There IPv6 drops it before any hook.)
fn count(internet: &Internet) {
    let table = "table inet strays {
        chain leaving { type filter hook postrouting priority 400;
            ip daddr 127.0.0.0/8 oifname != lo counter
            ip6 daddr ::1 oifname != lo counter
        }
        chain arriving { type filter hook prerouting priority -400;
            ip daddr 127.0.0.0/8 iifname != lo counter
        }
    }";
    std::fs::write("/run/strays.nft", table).unwrap();
    run("nft -f /run/strays.nft");
    internet.run(|| run("nft -f /run/strays.nft"));
}

fn strays(internet: &Internet) -> u64 {
    let list = || run("nft list table inet strays");
    let listed = list() + &internet.run(list);
    let counts = listed.split("packets ").skip(1);
    counts.map(|rest| rest.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

fn bound_tcp(to: SocketAddr, device: &str) -> std::io::Result<(TcpStream, Seen)> {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
    socket.bind_device(Some(device.as_bytes()))?;
    socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut greeting = [0];
    stream.read_exact(&mut greeting)?;
    Ok((stream, if greeting[0] == b'S' { Seen::Captured } else { Seen::Direct }))
}

fn bound_udp(to: SocketAddr, device: &str) -> UdpSocket {
    let socket = udp(any(to, 0));
    socket2::SockRef::from(&socket).bind_device(Some(device.as_bytes())).unwrap();
    socket
}

fn around() -> Ruleset {
    ruleset().surveyed()
}

fn programs_bound_to_a_device_are_captured() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    count(&internet);
    let handle = Handle::install(around()).unwrap();
    let mut open = Vec::new();
    for ((foreign, loopback), domestic) in FOREIGN.into_iter().zip(["203.0.113.1", "2001:db8:c::1"])
    {
        greet(TcpListener::bind(at(loopback, 1111)).unwrap(), b'S');
        let resolver = udp(at(loopback, 1211));
        let (stream, seen) = bound_tcp(at(foreign, 80), "uplink").unwrap();
        assert_eq!(seen, Seen::Captured, "{foreign}");
        open.push(stream);
        assert_eq!(bound_tcp(at(domestic, 80), "uplink").unwrap().1, Seen::Direct);
        let server = internet.udp(at(foreign, 53));
        let client = bound_udp(at(foreign, 53), "uplink");
        let seen = datagram(&client, at(foreign, 53), &server, Some(&resolver));
        assert_eq!(seen, Seen::Captured, "{foreign}");
    }
    handle.release().unwrap();
    open.iter_mut().for_each(|stream| assert!(echoes(stream), "captured ones go on to their end"));
    assert_eq!(strays(&internet), 0);
    handle.remove().unwrap();
}

fn a_device_that_comes_later_is_followed() {
    let internet = Internet::build();
    internet.greet(80, b'I');
    let _handle = Handle::install(around()).unwrap();
    for (foreign, loopback) in FOREIGN {
        greet(TcpListener::bind(at(loopback, 1111)).unwrap(), b'S');
        let listed = |device: &str| {
            let option = if foreign.contains(':') { "-6 " } else { "" };
            run(&format!("ip {option}route show table local proto 83")).contains(device)
        };
        run("ip link add second type veth peer name other");
        internet.take("other");
        internet.run(|| {
            run("ip link set other up");
            run("ip address add 192.0.2.129/26 dev other");
            run("ip address add 2001:db8:22::1/64 dev other nodad");
        });
        run("ip link set second up");
        run("ip address add 192.0.2.130/26 dev second");
        run("ip address add 2001:db8:22::2/64 dev second nodad");
        run("ip route add default via 192.0.2.129 metric 9");
        run("ip -6 route add default via 2001:db8:22::1 metric 9999");
        until("the new device", || listed("second"));
        assert_eq!(bound_tcp(at(foreign, 80), "second").unwrap().1, Seen::Captured, "{foreign}");
        run("ip link del second");
        until("a device that is gone", || !listed("second"));
    }
}

fn the_routes_go_with_the_rules() {
    let _internet = Internet::build();
    let routes = || run("ip route show table all") + &run("ip -6 route show table all");
    let before = routes();
    assert!(before.contains("local 127.0.0.1 dev lo"), "{before}");
    let handle = Handle::install(around()).unwrap();
    assert_ne!(routes(), before);
    handle.remove().unwrap();
    assert_eq!(routes(), before);
    // As one leaves it that was killed.
    std::mem::forget(Routes::put(&around().policy));
    let left = routes();
    assert_ne!(left, before);
    let handle = Handle::install(around()).unwrap();
    assert_eq!(routes(), left, "a start takes them over");
    handle.remove().unwrap();
    assert_eq!(routes(), before);
    std::mem::forget(Routes::put(&around().policy));
    let cleaned = cleanup().unwrap().to_string();
    assert_eq!(cleaned, "removed 2 local routes to loopback addresses");
    assert_eq!(routes(), before);
    assert_eq!(cleanup().unwrap().to_string(), "nothing to clean");
}
