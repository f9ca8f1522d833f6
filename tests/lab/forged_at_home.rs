//! Names that the public sides deny are asked of the server that the program asked, if that is a
//! private one. Here it is a forger, who answers everything with a public address: no public name
//! can be forged that way, and neither can one that does not exist.

use crate::peer::names;
use crate::process::{Place, sh};
use crate::question::{ask_all, kind};
use crate::snet::{Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, FORGED, Family, sealed};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

const BRIDGE: &str = "10.89.0.1";

/// `SNET_QUERIES` sets another number.
fn queries() -> u32 {
    std::env::var("SNET_QUERIES").ok().and_then(|text| text.parse().ok()).unwrap_or(9_000)
}

#[test]
fn a_forger_at_home_is_believed_of_no_public_name() {
    sealed(|| {
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let config = Config::through(Family::V4, &[proxy]);
        sh(Place::Machine, "ip link add podman0 type bridge");
        sh(Place::Machine, &format!("ip addr add {BRIDGE}/24 dev podman0"));
        sh(Place::Machine, "ip link set podman0 up");
        let server = SocketAddr::new(BRIDGE.parse().expect("an address"), 53);
        let asked = forge(server);
        let snet = Snet::start(Variant::Native, &config);
        let name = |number: u32| match number % 3 {
            0 => format!("n{number}.absent.example"),
            1 => format!("n{number}.foreign.example"),
            _ => format!("n{number}.domestic.example"),
        };
        let question = |number: u32| (name(number), kind(FAMILIES[number as usize / 3 % 2]));
        let mut unanswered = 0;
        ask_all(server, queries(), question, |number, answer| {
            let family = FAMILIES[number as usize / 3 % 2];
            let (code, addresses) = match number % 3 {
                0 => (3, Vec::new()),
                1 => (0, vec![FOREIGN_SITE.ip(family)]),
                _ => (0, vec![DOMESTIC_SITE.ip(family)]),
            };
            if answer.code == 2 {
                unanswered += 1;
                return;
            }
            let context = format!("{}: {answer:?}\n{}", name(number), snet.log());
            assert_eq!((answer.code, &answer.addresses), (code, &addresses), "{context}");
        });
        assert!(unanswered * 1000 <= queries(), "{unanswered} had no answer\n{}", snet.log());
        let asked = asked.load(Ordering::Relaxed);
        println!("{} queries, {asked} of them forged at home", queries());
        assert!(asked >= queries() / 3, "the forger was asked {asked} times");
        snet.stop();
    });
}

/// Answers every query with a public address, of the type that is asked for, and counts them.
fn forge(address: SocketAddr) -> Arc<AtomicU32> {
    let socket = UdpSocket::bind(address).expect("the address is ours");
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            counted.fetch_add(1, Ordering::Relaxed);
            // Its port may be closed already.
            let _ = socket.send_to(&lie(&buffer[..length]), from);
        }
    });
    asked
}

/// The question, and an address of nobody's (RFC 1035, 4.1).
fn lie(query: &[u8]) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += 1 + usize::from(query[end]);
    }
    let question = end + 5;
    let family = if query[end + 2] == 28 { Family::V6 } else { Family::V4 };
    let mut message = query[..question].to_vec();
    message[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    message.extend([0xc0, 12]);
    message.extend(&query[end + 1..question]);
    message.extend([0, 0, 0, 60]);
    match FORGED.ip(family) {
        IpAddr::V4(v4) => {
            message.extend([0, 4]);
            message.extend(v4.octets());
        }
        IpAddr::V6(v6) => {
            message.extend([0, 16]);
            message.extend(v6.octets());
        }
    }
    message
}
