//! What snet asks itself leaves no connection in TIME_WAIT: one would hold up the next program
//! whose connection to the redirect port has the same port.

use crate::peer::service;
use crate::process::{Place, run};
use crate::snet::{Config, Snet, TCP_PORT};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{Family, sealed_for};
use snet_lab::in_every_variant;
use std::thread;
use std::time::Duration;

/// Some beats.
const A_WHILE: Duration = Duration::from_secs(7);

in_every_variant!(questions_to_itself_leave_no_time_wait);

fn questions_to_itself_leave_no_time_wait(variant: Variant) {
    service::start();
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let daemon = Snet::start(variant, &Config::through(Family::V4, &[proxy]));
    thread::sleep(A_WHILE);
    for end in ["sport", "dport"] {
        let filter = format!("{end} = :{TCP_PORT}");
        let waiting = run(Place::Machine, "ss", &["-Htan", "state", "time-wait", &filter]);
        assert_eq!(waiting, "", "{end}");
    }
    daemon.stop();
}
