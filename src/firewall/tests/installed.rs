//! Rules installed by the backend under test, whichever it is.

use super::lab::{Variant, run, variant};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::{self, nftables};
use crate::route::Route;
use std::error::Error;
use std::net::IpAddr;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

#[derive(Debug)]
pub(super) enum Handle {
    Iptables(firewall::Handle),
    Nftables(Beating),
}

/// A handle, and a thread that keeps its rules acting.
#[derive(Debug)]
pub(super) struct Beating {
    handle: Arc<nftables::Handle>,
    stop: mpsc::Sender<()>,
    heart: JoinHandle<()>,
}

impl Handle {
    pub(super) fn install(ruleset: Ruleset) -> Result<Self, Box<dyn Error>> {
        Ok(match variant() {
            Variant::Nft | Variant::Legacy => Handle::Iptables(firewall::Handle::install(ruleset)?),
            Variant::Native => {
                let owner = nftables::Owner::open()?;
                Handle::Nftables(Beating::new(nftables::Handle::install(owner, ruleset)?))
            }
        })
    }

    pub(super) fn exempt(&self, servers: Vec<IpAddr>) {
        match self {
            Handle::Iptables(handle) => handle.exempt(servers),
            Handle::Nftables(beating) => beating.handle.exempt(servers),
        }
    }

    pub(super) fn replace(&self, ruleset: Ruleset) -> Result<(), Box<dyn Error>> {
        match self {
            Handle::Iptables(handle) => handle.replace(ruleset)?,
            Handle::Nftables(beating) => beating.handle.replace(&ruleset)?,
        }
        Ok(())
    }

    pub(super) fn forget(&self) {
        match self {
            Handle::Iptables(handle) => handle.forget(),
            Handle::Nftables(beating) => beating.handle.forget(),
        }
    }

    /// The rules act for another while.
    pub(super) fn beat(&self) {
        match self {
            Handle::Iptables(handle) => handle.beat().unwrap(),
            Handle::Nftables(beating) => beating.handle.beat().unwrap(),
        }
    }

    pub(super) fn learn(&self, address: IpAddr, route: Route, ttl: Duration) {
        match self {
            Handle::Iptables(handle) => handle.learn(address, route, ttl),
            Handle::Nftables(beating) => beating.handle.learn(address, route, ttl),
        }
    }

    pub(super) fn release(&self) -> Result<(), Box<dyn Error>> {
        match self {
            Handle::Iptables(handle) => handle.release()?,
            Handle::Nftables(beating) => beating.handle.release()?,
        }
        Ok(())
    }

    /// What the tool of this backend shows of a set.
    pub(super) fn list(&self, set: &str) -> String {
        match self {
            Handle::Iptables(_) => run(&format!("ipset list snet-{set}")),
            Handle::Nftables(_) => run(&format!("nft list set inet snet {set}")),
        }
    }

    /// How long an address stays in a set.
    pub(super) fn seconds_left(&self, set: &str, address: &str) -> u64 {
        let listed = self.list(set);
        let (_, entry) = listed.split_once(&format!("{address} timeout ")).unwrap();
        let left = match self {
            Handle::Iptables(_) => entry,
            Handle::Nftables(_) => entry.split_once("expires ").unwrap().1,
        };
        seconds(left.split_whitespace().next().unwrap())
    }

    pub(super) fn remove(self) -> Result<(), Box<dyn Error>> {
        match self {
            Handle::Iptables(handle) => handle.remove()?,
            Handle::Nftables(beating) => beating.end().remove()?,
        }
        Ok(())
    }
}

impl Beating {
    fn new(handle: nftables::Handle) -> Self {
        let handle = Arc::new(handle);
        let (stop, stopped) = mpsc::channel();
        let beats = Arc::clone(&handle);
        let heart = thread::spawn(move || {
            let rest = Duration::from_secs(1);
            while stopped.recv_timeout(rest) == Err(mpsc::RecvTimeoutError::Timeout) {
                beats.beat().unwrap();
            }
        });
        Beating { handle, stop, heart }
    }

    fn end(self) -> nftables::Handle {
        drop(self.stop);
        self.heart.join().unwrap();
        Arc::into_inner(self.handle).unwrap()
    }
}

/// `59`, as ipset writes it, or `1h59m30s999ms`, as nft does.
fn seconds(text: &str) -> u64 {
    let mut sum = 0;
    let mut number = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            'm' if characters.peek() == Some(&'s') => return sum,
            'h' => sum += std::mem::take(&mut number) * 3600,
            'm' => sum += std::mem::take(&mut number) * 60,
            's' => sum += std::mem::take(&mut number),
            digit => number = number * 10 + u64::from(digit.to_digit(10).unwrap()),
        }
    }
    sum + number
}
