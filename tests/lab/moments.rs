//! Killed, or stopped by a debugger, at any moment of its life, under traffic: the network lives, and
//! the next start finds nothing in its way. `SNET_KILLS` sets another number of moments.

use crate::client::{echo, try_connect};
use crate::peer::service;
use crate::sealed::sealed;
use crate::snet::{self, Config, Snet, Variant};
use crate::tables::{assert_same, snapshot};
use crate::upstream::Upstream;
use crate::wait;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, Host};
use nix::sys::signal::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn killed_at_any_moment_with_iptables_nft() {
    sealed(|_| killed_at_any_moment(Variant::Nft));
}

#[test]
fn killed_at_any_moment_with_iptables_legacy() {
    sealed(|_| killed_at_any_moment(Variant::Legacy));
}

#[test]
fn killed_at_any_moment_with_nftables() {
    sealed(|_| killed_at_any_moment(Variant::Native));
}

/// The promise.
const WITHIN: Duration = Duration::from_secs(10);

/// A life: a start, some work, and from here on a stop.
const STOP_BEGINS: u64 = 500;
const LIFE: u64 = 900;

fn moments() -> u64 {
    std::env::var("SNET_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

fn killed_at_any_moment(variant: Variant) {
    service::start();
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
                    assert!(reaches(DOMESTIC_SITE, family), "a domestic site, {family:?}");
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
            if number % 4 == 1 && daemon.ended().is_none() {
                daemon.signal(Signal::SIGSTOP);
                lives(&format!("stopped {what}"));
            }
            if daemon.ended().is_none() {
                daemon.signal(Signal::SIGKILL);
                daemon.wait();
            }
            if number % 4 == 2 {
                lives(&format!("killed {what}"));
            }
            let next = Snet::ready(snet::snet(variant).arg("-c").arg(&file));
            assert!(reaches(FOREIGN_SITE, Family::V4), "through the next one; {what}");
            next.stop();
            assert_same(&before, &snapshot());
        }
    });
    println!("{} moments", moments());
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn lives(what: &str) {
    for family in FAMILIES {
        wait::until(what, WITHIN, || reaches(FOREIGN_SITE, family));
    }
}

fn reaches(site: Host, family: Family) -> bool {
    let stream = try_connect(site.port(family, service::ECHO));
    stream
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            echo(&mut stream, b"hello")
        })
        .is_ok()
}
