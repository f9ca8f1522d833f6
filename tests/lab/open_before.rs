//! What was open before a change of state is not harmed by it, and old sockets are captured and
//! released.

use crate::client::{connect, echo};
use crate::counters::Counters;
use crate::peer::{names, service};
use crate::snet::{Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{
    DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, MACHINE, SYSTEM_NAMES, sealed_for,
};
use snet_lab::in_every_variant;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

in_every_variant!(
    connections_live_through_start_and_stop,
    name_client_with_one_port_is_captured_and_released
);

fn connections_live_through_start_and_stop(variant: Variant) {
    service::start();
    let counters = Counters::start();
    let mut old: Vec<_> = FAMILIES
        .into_iter()
        .flat_map(|family| {
            [FOREIGN_SITE, DOMESTIC_SITE].map(|site| site.port(family, service::ECHO))
        })
        .map(connect)
        .collect();
    let mut talk = |when: &str| {
        for stream in &mut old {
            let peer = stream.peer_addr().expect("a peer");
            echo(stream, b"still there?").unwrap_or_else(|error| panic!("{when} {peer}: {error}"));
        }
    };
    talk("before");
    let (_server, proxy) = Upstream::Rust("aes-128-gcm").start(Family::V4);
    let snet = Snet::start(variant, &Config::through(Family::V4, &[proxy]));
    talk("running");
    let mut new = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
    let mut domestic = connect(DOMESTIC_SITE.port(Family::V6, service::ECHO));
    echo(&mut new, b"a new one").expect("an echo");
    echo(&mut domestic, b"a domestic one").expect("an echo");
    assert_eq!(counters.captured(), 1, "only the new foreign one is redirected");
    talk("running still");
    drop(new);
    snet.stop();
    talk("stopped");
    echo(&mut domestic, b"a domestic one").expect("an echo");
    let mut direct = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
    echo(&mut direct, b"nobody between").expect("an echo");
    assert_eq!(counters.captured(), 1);
}

/// Asks all the time from one port in each family, so that conntrack never forgets.
fn name_client_with_one_port_is_captured_and_released(variant: Variant) {
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let config = Config::through(Family::V4, &[proxy]);
    let clients = FAMILIES.map(|family| (family, NameClient::new(family)));
    let old = [0, 1].map(|index| names::OLD.ip(FAMILIES[index]));
    let new = [0, 1].map(|index| FOREIGN_SITE.ip(FAMILIES[index]));
    let expect = |state: &str, expected: [IpAddr; 2]| {
        for (index, (family, client)) in clients.iter().enumerate() {
            let mut heard = None;
            let within = Duration::from_secs(5);
            let came = wait::quietly(within, || {
                heard = client.ask();
                heard == Some(expected[index])
            });
            assert!(came, "{state}, {family:?}: heard {heard:?}, not {}", expected[index]);
        }
    };
    for round in 1..=2 {
        expect(&format!("before start {round}"), old);
        let snet = Snet::start(variant, &config);
        expect(&format!("running {round}"), new);
        snet.stop();
        expect(&format!("stopped {round}"), old);
    }
}

/// A connected UDP socket that asks for foreign.example.
struct NameClient(UdpSocket, Family);

impl NameClient {
    fn new(family: Family) -> Self {
        let socket = UdpSocket::bind((MACHINE.ip(family), 40053)).expect("the port is free");
        socket.connect(SYSTEM_NAMES.port(family, 53)).expect("there is a route");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a time");
        NameClient(socket, family)
    }

    /// The first address of the answer; `None` for silence, refusal or an error.
    fn ask(&self) -> Option<IpAddr> {
        let kind = if self.1 == Family::V4 { 1 } else { 28 };
        let mut query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07foreign\x07example\0\0".to_vec();
        query.extend([kind, 0, 1]);
        let sent = self.0.send(&query);
        if sent.is_err_and(|error| error.kind() != ErrorKind::ConnectionRefused) {
            return None;
        }
        let mut buffer = [0; 512];
        let length = self.0.recv(&mut buffer).ok()?;
        // One address record is the last thing in an answer without OPT.
        match self.1 {
            Family::V4 if length >= query.len() + 16 => {
                let last: [u8; 4] = buffer[length - 4..length].try_into().ok()?;
                Some(last.into())
            }
            Family::V6 if length >= query.len() + 28 => {
                let last: [u8; 16] = buffer[length - 16..length].try_into().ok()?;
                Some(last.into())
            }
            _ => None,
        }
    }
}
