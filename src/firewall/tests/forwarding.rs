//! Interfaces that others' rules forward nothing from: a guest network without internet stays one.

use super::installed::Handle;
use super::router::{FOREIGN, our_ports};
use super::{of_the_network, router_of_the_network as router};
use crate::firewall::{LanPolicy, conflicts};
use snet_lab::house::{House, bridge};
use snet_lab::in_every_variant;
use snet_lab::internet::{Host, Seen, at, tcp};
use snet_lab::kernel::{run, sealed_for, until};
use std::net::TcpStream;
use std::time::Duration;

in_every_variant!(
    what_others_do_not_forward_is_not_served,
    a_native_chain_that_forwards_nothing_counts_too,
    what_is_named_is_served_all_the_same
);

const TOOLS: [&str; 2] = ["iptables", "ip6tables"];

struct Home {
    house: House,
    guest: Host,
}

impl Home {
    fn new() -> Self {
        let house = House::build();
        let [guest, _] = bridge("br-iot", "192.168.7", "2001:db8:7:");
        house.internet.greet(80, b'I');
        house.internet.run(|| {
            run("ip route add 192.168.7.0/24 via 192.0.2.2");
            run("ip -6 route add 2001:db8:7::/64 via 2001:db8:2::2");
        });
        our_ports();
        for tool in TOOLS {
            // Whatever comes to our port from there.
            run(&format!("{tool} -t mangle -A INPUT -i br-iot -p tcp --dport 1111"));
        }
        Home { house, guest }
    }

    /// Only what comes from br-lan goes out.
    fn shut(&self) {
        for tool in TOOLS {
            run(&format!("{tool} -P FORWARD DROP"));
            run(&format!("{tool} -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"));
            run(&format!("{tool} -A FORWARD -i br-lan -o uplink -j ACCEPT"));
            run(&format!("{tool} -A FORWARD -i br-iot -o br-lan -j ACCEPT"));
        }
    }

    fn served(&self) {
        for foreign in FOREIGN {
            let to = at(foreign, 80);
            assert_eq!(self.guest.run(move || tcp(to, None)), Seen::Captured, "{foreign}");
        }
        self.others_are_served();
    }

    fn others_are_served(&self) {
        for foreign in FOREIGN {
            let to = at(foreign, 80);
            assert_eq!(self.house.one.run(move || tcp(to, None)), Seen::Captured, "{foreign}");
            assert_eq!(tcp(to, None), Seen::Captured, "{foreign}");
        }
    }

    fn is_cut_off(&self) {
        let before = came_in();
        for foreign in FOREIGN {
            let to = at(foreign, 80);
            let connected = self
                .guest
                .run(move || TcpStream::connect_timeout(&to, Duration::from_millis(300)).is_ok());
            assert!(!connected, "{foreign}");
        }
        assert_eq!(came_in(), before);
        self.others_are_served();
    }
}

/// The packets that came in to our port from the guests' network.
fn came_in() -> Vec<String> {
    let count = |tool: &str| {
        let listed = run(&format!("{tool} -t mangle -nvxL INPUT"));
        let rule = listed.lines().find(|line| line.contains("dpt:1111")).unwrap();
        rule.split_whitespace().next().unwrap().to_owned()
    };
    TOOLS.map(count).into()
}

fn told() -> Vec<String> {
    let doubts = conflicts::all(&router(), &[], true);
    doubts.into_iter().filter(|doubt| doubt.contains("nothing new from br-iot")).collect()
}

fn lan_has(handle: &Handle, interface: &str) -> bool {
    ["lan4", "lan6"].iter().all(|set| handle.list(set).contains(interface))
}

fn what_others_do_not_forward_is_not_served() {
    let home = Home::new();
    home.shut();
    let told = told();
    assert!(told.len() == 2 && told[0].contains("by policy"), "{told:?}");
    assert!(told[0].contains("firewall.interfaces = [\"br-lan\", \"br-iot\"]"), "{told:?}");
    let handle = Handle::install(router()).unwrap();
    home.is_cut_off();
    let rule = "FORWARD -i br-iot -o uplink -j ACCEPT";
    for tool in TOOLS {
        run(&format!("{tool} -A {rule}"));
    }
    until("it is forwarded", || lan_has(&handle, "br-iot"));
    home.served();
    for tool in TOOLS {
        run(&format!("{tool} -D {rule}"));
    }
    let gone = || !["lan4", "lan6"].iter().any(|set| handle.list(set).contains("br-iot"));
    until("it is not forwarded any more", gone);
    home.is_cut_off();
    handle.remove().unwrap();
}

fn a_native_chain_that_forwards_nothing_counts_too() {
    let home = Home::new();
    let handle = Handle::install(router()).unwrap();
    home.served();
    run("nft add table inet mine");
    run("nft add chain inet mine forward { type filter hook forward priority 10 ; policy drop ; }");
    run("nft add rule inet mine forward ct state established,related accept");
    run("nft add rule inet mine forward iifname br-lan oifname uplink accept");
    let gone = || !["lan4", "lan6"].iter().any(|set| handle.list(set).contains("br-iot"));
    until("it is not forwarded any more", gone);
    home.is_cut_off();
    run("nft add rule inet mine forward meta mark 7 accept");
    until("nobody knows", || lan_has(&handle, "br-iot"));
    home.served();
    run("nft delete table inet mine");
    handle.remove().unwrap();
}

fn what_is_named_is_served_all_the_same() {
    let home = Home::new();
    home.shut();
    let named = |names: &[&str]| {
        let patterns = names.iter().map(|name| (*name).to_owned()).collect();
        of_the_network(
            router()
                .with(|policy| policy.lan = Some(LanPolicy { patterns, ..LanPolicy::default() })),
        )
    };
    let handle = Handle::install(named(&["br-lan", "br-iot"])).unwrap();
    home.served();
    // A glob does not name it.
    handle.replace(named(&["br-*"])).unwrap();
    home.is_cut_off();
    handle.remove().unwrap();
}
