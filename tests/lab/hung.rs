//! A daemon that hangs or is dead lets the network go, and one that comes back takes it again: the
//! dead man's switch, row "killed" and row "hung" of the table of what flows when.

use crate::client::{echo, try_connect};
use crate::counters::Counters;
use crate::peer::service;
use crate::snet::{Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait::until;
use crate::world::{FOREIGN_SITE, Family, sealed_for};
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::time::Duration;

/// The promise, and nothing more.
const WITHIN: Duration = Duration::from_secs(10);

in_every_variant!(hung_and_dead);

fn hung_and_dead(variant: Variant) {
    service::start();
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let counters = Counters::start();
    let snet = Snet::start(variant, &Config::through(Family::V4, &[proxy]));
    assert!(reaches(), "through the proxy");
    assert_eq!(counters.leaked(), 0, "running");

    snet.signal(Signal::SIGSTOP);
    // What it had accepted already may still be served while the signal is on its way.
    until("the network lives although snet hangs: directly", WITHIN, || {
        reaches() && counters.leaked() > 0
    });

    snet.signal(Signal::SIGCONT);
    until("it captures again", WITHIN, || {
        let before = counters.leaked();
        reaches() && counters.leaked() == before
    });

    let before = counters.leaked();
    snet.kill();
    until("the network lives although snet is dead", WITHIN, reaches);
    assert!(counters.leaked() > before, "it went directly");
}

/// Whether the foreign site answers.
fn reaches() -> bool {
    let stream = try_connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
    stream
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            echo(&mut stream, b"hello")
        })
        .is_ok()
}
