//! An answer that comes when its program is gone: the complaint of the program's kernel quotes it,
//! and must not leave for the foreign server that was asked.

use crate::counters::Counters;
use crate::peer::{names, service};
use crate::router::LAN;
use crate::snet::{Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{Family, SYSTEM_NAMES, sealed_for};
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::thread;
use std::time::Duration;

in_every_variant!(no_complaint_leaves);

fn no_complaint_leaves(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    LAN.move_in(variant);
    let mut config = Config::through(Family::V4, &[proxy]);
    Config::set(&mut config.top, "mode", "\"router\"");
    let snet = Snet::start(variant, &config);
    let counters = Counters::restart();
    for family in [Family::V4, Family::V6] {
        let asked = format!("@{} +short +timeout=1 foreign.example", SYSTEM_NAMES.ip(family));
        // Shorter than the rules act that nobody renews.
        snet.signal(Signal::SIGSTOP);
        assert!(dig(&asked).contains("timed out"), "nobody answers meanwhile");
        assert!(LAN.dig(&asked).contains("timed out"), "nor for a host of the LAN");
        snet.signal(Signal::SIGCONT);
        thread::sleep(Duration::from_millis(500));
        assert!(dig(&asked).contains("203.0.113.10"), "it answers again");
        assert!(LAN.dig(&asked).contains("203.0.113.10"), "the LAN, too");
    }
    assert_eq!(counters.leaked(), 0, "nothing leaves for a foreign server");
    snet.stop();
}
