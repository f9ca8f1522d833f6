//! The NAT that programs see is a full cone: mapping and filtering do not depend on the peer
//! (RFC 4787). A real STUN server judges it (RFC 5780).

use super::stun::{From, ask};
use super::talker::Talker;
use super::{PLACES, lan, router};
use crate::counters::Counters;
use crate::peer::{coturn, shadowsocks};
use crate::snet::Snet;
use crate::variant::Variant;
use crate::world::{FAMILIES, FOREIGN_SITE, FOREIGN_TWIN, PROXY, sealed_for};
use snet_lab::in_every_variant;
use std::net::SocketAddr;

in_every_variant!(a_full_cone);

/// Of this machine and of a LAN host.
fn a_full_cone(variant: Variant) {
    let _stun = coturn::start();
    lan(variant);
    let counters = Counters::start();
    for family in FAMILIES {
        let (_proxy, line) = shadowsocks::rust_bound(family, "aes-128-gcm");
        let snet = Snet::start(variant, &router(family, line));
        let server = FOREIGN_SITE.port(family, coturn::PORT);
        let twin = FOREIGN_TWIN.port(family, coturn::OTHER_PORT);
        for place in PLACES {
            let context = || format!("{place:?} {family:?}: {}", snet.log());

            // RFC 5780, section 4.3: the server's four sockets see the same client.
            let talker = Talker::of(place, server);
            let first =
                ask(&talker.socket, server, From::Asked).unwrap_or_else(|| panic!("{}", context()));
            assert_eq!((first.from, first.other), (server, twin));
            assert_eq!(first.mapped.ip(), PROXY.ip(family));
            let corners = [(twin, server), (server, twin), (twin, twin)]
                .map(|(host, at)| SocketAddr::new(host.ip(), at.port()));
            for corner in corners {
                let seen = ask(&talker.socket, corner, From::Asked).map(|answer| answer.mapped);
                assert_eq!(seen, Some(first.mapped), "asked at {corner}: {}", context());
            }

            // Section 4.4: an answer of a stranger comes in, and the stranger can be talked to.
            for (change, stranger) in [
                (From::OtherAddress, twin),
                (From::OtherPort, SocketAddr::new(server.ip(), twin.port())),
            ] {
                let talker = Talker::of(place, server);
                let first = ask(&talker.socket, server, From::Asked).expect("as before");
                let answer = ask(&talker.socket, server, change);
                let answer = answer.unwrap_or_else(|| panic!("no {change:?}: {}", context()));
                assert_eq!((answer.from, answer.mapped), (stranger, first.mapped));
                let seen = ask(&talker.socket, stranger, From::Asked);
                assert_eq!(seen.map(|answer| answer.mapped), Some(first.mapped), "{}", context());
            }
        }
        assert_eq!(counters.leaked(), 0, "something left directly");
        assert!(snet.lines("ERROR").is_empty(), "{}", snet.log());
        snet.stop();
    }
}
