//! Killed, or stopped by a debugger, at any moment of its life, under traffic: the network lives,
//! and the next start finds nothing in its way. `SNET_KILLS` sets another number of moments, and
//! then the network is waited for after each of them.

use crate::client::{echo, try_connect};
use crate::peer::{names, service};
use crate::snet::{self, Config, Snet, dig};
use crate::stop::Stop;
use crate::tables::{assert_same, snapshot};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, Host, sealed_for};
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

in_every_variant!(killed_at_any_moment);

/// The promise.
const WITHIN: Duration = Duration::from_secs(10);

/// The kernel removes a table with its owner.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A life: a start, some work, and from here on a stop.
const STOP_BEGINS: u64 = 500;
const LIFE: u64 = 900;

fn asked_for() -> Option<u64> {
    std::env::var("SNET_KILLS").ok().and_then(|text| text.parse().ok())
}

fn moments() -> u64 {
    asked_for().unwrap_or(8)
}

fn killed_at_any_moment(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let file = Config::through(Family::V4, &[proxy]).by(variant).write();
    crate::restored::neighbours(variant);
    let before = snapshot();
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(stop);
        for family in FAMILIES {
            // Domestic traffic is nobody's business, whatever happens.
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let echoed = visit(DOMESTIC_SITE, family, Duration::from_secs(10));
                    echoed.unwrap_or_else(|error| panic!("a domestic site, {family:?}: {error}"));
                    thread::sleep(Duration::from_millis(20));
                }
            });
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Some of these fall into a death.
                    reaches(FOREIGN_SITE, family);
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        for number in 0..moments() {
            // All over its life, whatever their number.
            let moment = number * 389 % LIFE;
            let mut command = snet::snet(variant);
            let mut daemon = Snet::spawn(command.arg("-c").arg(&file));
            thread::sleep(Duration::from_millis(moment.min(STOP_BEGINS)));
            if moment > STOP_BEGINS {
                daemon.signal(Signal::SIGTERM);
                thread::sleep(Duration::from_millis(moment - STOP_BEGINS));
            }
            let what = format!("{moment} ms after its start");
            if number % 2 == 1 && daemon.ended().is_none() {
                daemon.signal(Signal::SIGSTOP);
                if asked_for().is_some() || number % 4 == 1 {
                    lives(&format!("stopped {what}"), WITHIN);
                }
            }
            if daemon.ended().is_none() {
                daemon.kill();
            }
            if variant == Variant::Native {
                lives(&format!("killed {what}"), AT_ONCE);
            } else if asked_for().is_some() || number % 4 == 2 {
                lives(&format!("killed {what}"), WITHIN);
            }
            let next = Snet::ready(snet::snet(variant).arg("-c").arg(&file));
            let through = format!("through the next one; {what}");
            wait::until(&through, Duration::from_secs(3), || reaches(FOREIGN_SITE, Family::V4));
            next.stop();
            assert_same(&before, &snapshot());
        }
    });
    println!("{} moments", moments());
}

/// Connections and names, of both families.
fn lives(what: &str, within: Duration) {
    for family in FAMILIES {
        wait::until(what, within, || reaches(FOREIGN_SITE, family));
    }
    let what = format!("{what}: a name");
    // That nobody answers dig says on standard output, too.
    let is_address = |line: &str| line.parse::<IpAddr>().is_ok();
    wait::until(&what, within, || {
        dig("+short +timeout=1 domestic.example").lines().any(is_address)
    });
}

fn reaches(site: Host, family: Family) -> bool {
    visit(site, family, Duration::from_millis(500)).is_ok()
}

fn visit(site: Host, family: Family, patience: Duration) -> std::io::Result<()> {
    let mut stream = try_connect(site.port(family, service::ECHO))?;
    stream.set_read_timeout(Some(patience))?;
    echo(&mut stream, b"hello")
}
