//! The nftables backend where it is not like the other one: its text, its life, its switch.

mod golden;
mod life_cycle;
mod offload;
mod older;
mod switch;

use super::{ruleset, set};
use crate::firewall::Switches;
use crate::firewall::nftables::kernel_table::KernelTable;
use crate::firewall::nftables::{Error, TableOwner};
use crate::firewall::ruleset::Ruleset;
use snet_lab::kernel::run;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn install(ruleset: Ruleset) -> Result<KernelTable, Error> {
    let handle = KernelTable::install(TableOwner::open()?, ruleset)?;
    handle.beat(Switches::CAPTURE)?;
    Ok(handle)
}

/// The tables of the kernel as nft shows them, without what passes with time.
fn listed() -> String {
    run("nft list ruleset")
}

/// Set in a second process of a test, which plays another part.
const PART: &str = "SNET_LAB_PART";

fn plays(part: &str) -> bool {
    std::env::var(PART).is_ok_and(|played| played == part)
}

/// A second process of this test, in the same lab.
struct Actor(Child);

impl Actor {
    /// Starts it, and waits until its rules act.
    fn starts(part: &str) -> Self {
        let actor = Actor::spawned(part);
        wait_for(|| run("nft list ruleset").contains("expires"));
        actor
    }

    /// Starts it. It is killed when this is dropped, also by a failure.
    fn spawned(part: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([std::thread::current().name().unwrap(), "--exact", "--nocapture"])
            .env(PART, part)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Actor(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL; it is dead when this returns.
    fn killed(self) {
        drop(self);
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A failure, not a measure.
fn wait_for(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "it does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Until somebody kills us.
fn beat_for_ever(handle: &KernelTable) -> ! {
    loop {
        handle.beat(Switches::CAPTURE).unwrap();
        std::thread::sleep(Duration::from_secs(1));
    }
}
