//! Out of descriptors: what is open goes on, newcomers fail or wait, and once there are some again
//! everything is as before.

use crate::client::{connect, echo, try_connect};
use crate::peer::service;
use crate::process::{Place, sh};
use crate::sealed::sealed;
use crate::snet::{Config, Snet, Variant};
use crate::upstream::Upstream;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family};
use std::time::Duration;

#[test]
fn without_descriptors_what_is_open_goes_on() {
    sealed(|_| {
        service::start();
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let mut snet = Snet::start(Variant::Nft, &Config::through(Family::V4, &[proxy]));
        let site = FOREIGN_SITE.port(Family::V4, service::ECHO);
        let mut open = connect(site);
        echo(&mut open, b"before").expect("an echo");

        // One for the accepted connection, none to dial with; then not even that one.
        for spare in [1, 0] {
            set_limit(&snet, snet.descriptors() + spare);
            let newcomers: Vec<_> = (0..20).map(|_| try_connect(site)).collect();
            wait::until("the shortage is told", Duration::from_secs(20), || {
                let log = snet.log();
                log.contains("Too many open files") && (spare == 1 || log.contains("cannot accept"))
            });
            echo(&mut open, &[7; 100_000]).expect("what is open goes on");
            drop(newcomers);
            set_limit(&snet, 4096);
            wait::until("newcomers are served again", Duration::from_secs(20), || {
                try_connect(site).and_then(|mut stream| echo(&mut stream, b"after")).is_ok()
            });
        }
        assert!(!snet.log().contains("is down"), "the proxy was blamed:\n{}", snet.log());
        snet.assert_alive();
        snet.stop();
    });
}

/// prlimit(1): the daemon's soft limit of open files.
fn set_limit(snet: &Snet, files: usize) {
    sh(Place::Machine, &format!("prlimit --pid {} --nofile={files}:", snet.pid()));
}
