//! A household: the machine as its router, a LAN bridge with two hosts, and the internet.
//!
//! ```text
//!   one  192.168.1.10  2001:db8:1::10 --.
//!                                     br-lan  machine  uplink ---- internet
//!   two  192.168.1.20  2001:db8:1::20 --'
//! ```
//!
//! IPv4 is masqueraded, IPv6 is routed with public addresses, as at home.

use crate::internet::{Host, Internet};
use crate::kernel::run;

/// Its hosts.
pub struct House {
    /// The other end of the uplink.
    pub internet: Internet,
    /// `.10` of the LAN.
    pub one: Host,
    /// `.20` of the LAN.
    pub two: Host,
}

impl House {
    /// Builds it around this machine.
    pub fn build() -> Self {
        let internet = Internet::build();
        internet.run(|| {
            run("ip route add 192.168.1.0/24 via 192.0.2.2");
            run("ip -6 route add 2001:db8:1::/64 via 2001:db8:2::2");
        });
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap();
        }
        run("iptables -t nat -A POSTROUTING -s 192.168.1.0/24 -o uplink -j MASQUERADE");
        let [one, two] = bridge("br-lan", "192.168.1", "2001:db8:1:");
        House { internet, one, two }
    }
}

/// A bridge of this name with the address `.1`, and hosts `.10` and `.20` on two of its ports.
pub fn bridge(name: &str, v4: &'static str, v6: &'static str) -> [Host; 2] {
    run(&format!("ip link add {name} type bridge"));
    let hosts = [10, 20].map(|number| {
        let host = Host::build();
        let port = format!("{name}.{number}");
        run(&format!("ip link add {port} type veth peer name lan"));
        host.take("lan");
        run(&format!("ip link set {port} master {name} up"));
        host.run(move || {
            run(&format!("ip address add {v4}.{number}/24 dev lan"));
            run(&format!("ip address add {v6}:{number}/64 dev lan nodad"));
            run("ip link set lan up");
            run(&format!("ip route add default via {v4}.1"));
            run(&format!("ip -6 route add default via {v6}:1"));
        });
        host
    });
    run(&format!("ip link set {name} up"));
    run(&format!("ip address add {v4}.1/24 dev {name}"));
    run(&format!("ip -6 address add {v6}:1/64 dev {name} nodad"));
    hosts
}
