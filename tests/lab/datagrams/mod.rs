//! Foreign UDP through the proxy, among real programs.

mod absence;
mod captured;
mod chatter;
mod full_cone;
mod neighbours;
mod older;
mod outages;
mod quic;
mod stun;
pub mod talker;

use crate::router::{self, LAN};
use crate::snet::Config;
use crate::variant::Variant;
use crate::world::Family;
use std::fs;

/// The hosts whose programs talk: this machine, and one behind it.
const PLACES: [Option<&str>; 2] = [None, Some(LAN.namespace)];

/// A LAN host moves in behind the machine.
fn lan(variant: Variant) {
    // Under br_netfilter TPROXY loses what a bridge takes in.
    for tool in ["iptables", "ip6tables"] {
        let _ = fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{tool}"), "0");
    }
    LAN.move_in(variant);
}

/// A router that captures UDP of its own programs and of LAN hosts.
fn router(family: Family, proxy: String) -> Config {
    let mut config = router::router(family, proxy);
    Config::set(&mut config.firewall, "udp", "\"proxy\"");
    config
}
