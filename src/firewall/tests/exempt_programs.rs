//! Programs of some users, and of some cgroups, are left alone: connections, names, QUIC and what
//! is blocked. Those of others are not.

use super::installed::Handle;
use super::router::{asked, our_ports, seen};
use super::ruleset;
use super::{of_the_network, router_of_the_network as router};
use crate::exempt_programs::ExemptPrograms;
use crate::firewall::{Ruleset, cleanup};
use snet_lab::Variant;
use snet_lab::cgroup::Cgroups;
use snet_lab::house::House;
use snet_lab::in_every_variant;
use snet_lab::internet::{Internet, Seen, any, at, datagram, greet, refused, tcp, udp};
use snet_lab::kernel::{run, sealed_for, until, variant};
use std::net::{TcpListener, UdpSocket};

in_every_variant!(
    programs_of_a_user_are_exempt,
    programs_of_a_cgroup_are_exempt,
    a_cgroup_is_followed,
    a_router_leaves_its_own_programs_alone_and_nobody_elses,
    exempt_programs_can_change
);

const FOREIGN: [(&str, &str); 2] = [("198.51.100.1", "127.0.0.1"), ("2001:db8:f::1", "::1")];
const BLOCKED: [&str; 2] = ["198.51.100.65", "2001:db8:b::1"];

/// The internet, and snet's ports.
struct Scene {
    internet: Internet,
    quic: UdpSocket,
    resolvers: [UdpSocket; 2],
}

impl Scene {
    fn begin() -> Self {
        let internet = Internet::build();
        internet.greet(80, b'I');
        internet.greet(53, b'I');
        let resolvers = FOREIGN.map(|(_, loopback)| {
            greet(TcpListener::bind(at(loopback, 1111)).unwrap(), b'S');
            greet(TcpListener::bind(at(loopback, 1211)).unwrap(), b'S');
            udp(at(loopback, 1211))
        });
        let quic = internet.udp(at("::", 443));
        Scene { internet, quic, resolvers }
    }

    /// What a program sees that begins now.
    fn is(&self, exempt: bool, when: &str) {
        let expected = if exempt { Seen::Direct } else { Seen::Captured };
        for ((foreign, _), resolver) in FOREIGN.into_iter().zip(&self.resolvers) {
            assert_eq!(tcp(at(foreign, 80), None), expected, "{when}: TCP to {foreign}");
            assert_eq!(tcp(at(foreign, 53), None), expected, "{when}: a name over TCP");
            let to = at(foreign, 53);
            let server = self.internet.udp(to);
            let client = udp(any(to, 0));
            let seen = datagram(&client, to, &server, Some(resolver));
            assert_eq!(seen, expected, "{when}: a name, asked of {foreign}");
            // And asked again: the zone is the same.
            assert_eq!(datagram(&client, to, &server, Some(resolver)), expected, "{when}");
            let rejected = refused(at(foreign, 443), &self.quic, None);
            assert_eq!(rejected, !exempt, "{when}: QUIC to {foreign}");
        }
        for blocked in BLOCKED {
            let expected = if exempt { Seen::Direct } else { Seen::Refused };
            assert_eq!(tcp(at(blocked, 80), None), expected, "{when}: {blocked}");
        }
    }
}

fn users(users: &[u32]) -> ExemptPrograms {
    ExemptPrograms { users: users.into(), ..ExemptPrograms::default() }
}

fn cgroups(path: &str) -> ExemptPrograms {
    let nowhere = "snet-test/no/such.slice".into();
    ExemptPrograms { users: Vec::new(), cgroups: vec![nowhere, path.into()] }
}

fn with(exempt: ExemptPrograms) -> Ruleset {
    of_the_network(ruleset().with(|policy| policy.exempt = exempt))
}

fn programs_of_a_user_are_exempt() {
    let scene = Scene::begin();
    // Tests are root in their namespace, which has no other user.
    let handle = Handle::install(with(users(&[0]))).unwrap();
    scene.is(true, "root is left alone");
    handle.remove().unwrap();
    // To xt_owner a user that the namespace has not is none.
    if let Variant::Native = variant() {
        let handle = Handle::install(with(users(&[1, 65_534]))).unwrap();
        scene.is(false, "others are left alone");
        handle.remove().unwrap();
    }
    assert_eq!(cleanup().unwrap().to_string(), "nothing to clean");
}

fn programs_of_a_cgroup_are_exempt() {
    let groups = Cgroups::mount();
    let scene = Scene::begin();
    // As systemd names the service of a device.
    let slice = Cgroups::name(r"a\x2dslice");
    let service = format!("{slice}/proxy.service");
    groups.make(&slice);
    groups.make(&service);
    let handle = Handle::install(with(cgroups(&service))).unwrap();
    scene.is(false, "outside");
    groups.within(&service, || scene.is(true, "in the cgroup"));
    groups.within(&slice, || scene.is(false, "in the one above"));
    handle.remove().unwrap();
    let _handle = Handle::install(with(cgroups(&slice))).unwrap();
    groups.within(&service, || scene.is(true, "in one beneath it"));
    scene.is(false, "outside");
}

/// A service comes after snet, is started again, and ends.
fn a_cgroup_is_followed() {
    let groups = Cgroups::mount();
    let scene = Scene::begin();
    let slice = Cgroups::name("slice");
    let service = format!("{slice}/proxy.service");
    let handle = Handle::install(with(cgroups(&service))).unwrap();
    scene.is(false, "it is not there");
    for round in 0..3 {
        let first = round != 1;
        if first {
            groups.make(&slice);
        }
        groups.make(&service);
        groups.within(&service, || {
            until("it is left alone", || tcp(at("198.51.100.1", 80), None) == Seen::Direct);
            until("in IPv6 too", || tcp(at("2001:db8:f::1", 80), None) == Seen::Direct);
            scene.is(true, "it is there");
        });
        scene.is(false, "others are not");
        groups.remove(&service);
        if round != 0 {
            groups.remove(&slice);
        }
    }
    handle.release().unwrap();
    handle.remove().unwrap();
}

fn a_router_leaves_its_own_programs_alone_and_nobody_elses() {
    let groups = Cgroups::mount();
    let service = Cgroups::name("proxy.service");
    groups.make(&service);
    let house = House::build();
    house.internet.greet(80, b'I');
    let resolver = our_ports();
    let quic = house.internet.udp(at("::", 443));
    let handle =
        Handle::install(of_the_network(router().with(|policy| policy.exempt = cgroups(&service))))
            .unwrap();
    for (foreign, _) in FOREIGN {
        assert_eq!(seen(&house.one, foreign, 80), Seen::Captured);
        assert_eq!(asked(&house, &house.one, foreign, &resolver), Seen::Captured);
        assert_eq!(tcp(at(foreign, 80), None), Seen::Captured);
        assert!(refused(at(foreign, 443), &quic, None));
        groups.within(&service, || {
            assert_eq!(tcp(at(foreign, 80), None), Seen::Direct);
            assert!(!refused(at(foreign, 443), &quic, None));
        });
    }
    for blocked in BLOCKED {
        assert_eq!(seen(&house.one, blocked, 80), Seen::Refused);
        assert_eq!(tcp(at(blocked, 80), None), Seen::Refused);
        groups.within(&service, || assert_eq!(tcp(at(blocked, 80), None), Seen::Direct));
    }
    handle.remove().unwrap();
    assert!(!run("iptables-save").contains("SNET"));
}

fn exempt_programs_can_change() {
    let scene = Scene::begin();
    let handle = Handle::install(with(ExemptPrograms::default())).unwrap();
    scene.is(false, "nobody");
    for exempt in [true, false, true] {
        let whom = if exempt { users(&[0]) } else { ExemptPrograms::default() };
        handle.replace(with(whom)).unwrap();
        scene.is(exempt, "after a reload");
    }
    let listens_everywhere = vec!["::".parse().unwrap()];
    let router = router_of().with(|policy| {
        policy.exempt = users(&[0]);
        policy.listeners = listens_everywhere;
    });
    handle.replace(of_the_network(router)).unwrap();
    assert_eq!(tcp(at("198.51.100.1", 80), None), Seen::Direct);
    handle.replace(with(ExemptPrograms::default())).unwrap();
    scene.is(false, "nobody again");
}

fn router_of() -> Ruleset {
    ruleset().with(|policy| policy.lan = Some(crate::firewall::LanPolicy::default()))
}
