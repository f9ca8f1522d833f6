//! Rules installed by the backend under test, whichever it is.

use crate::firewall::{Backend, DirectCounts, Error, Installed, KernelAnswer, Ruleset, Switches};
use crate::route::Route;
use snet_lab::Variant;
use snet_lab::kernel::{run, variant};
use std::net::IpAddr;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Installed rules that are kept alive, as the daemon does, also while they are replaced.
#[derive(Debug)]
pub(super) struct Handle {
    /// Until [`remove`](Self::remove).
    rules: Option<Arc<Box<dyn Installed>>>,
    heart: Option<Heart>,
}

#[derive(Debug)]
struct Heart {
    stop: Option<mpsc::Sender<()>>,
    beats: Option<JoinHandle<()>>,
}

/// The one under test.
pub(super) fn backend() -> Backend {
    match variant() {
        Variant::Nft | Variant::Legacy => Backend::Iptables,
        Variant::Native => Backend::Nftables,
    }
}

impl Handle {
    pub(super) fn install(ruleset: Ruleset) -> Result<Self, Error> {
        let rules = Arc::new(backend().prepare()?.install(ruleset)?);
        rules.beat(Switches::CAPTURE)?;
        let heart = Some(Heart::start(&rules));
        Ok(Handle { rules: Some(rules), heart })
    }

    fn rules(&self) -> &dyn Installed {
        &***self.rules.as_ref().unwrap()
    }

    pub(super) fn beat(&self) -> Result<(), Error> {
        self.rules().beat(Switches::CAPTURE)
    }

    pub(super) fn exempt(&self, servers: Vec<IpAddr>) {
        self.rules().exempt(servers);
    }

    pub(super) fn replace(&self, ruleset: Ruleset) -> Result<(), Error> {
        self.rules().replace(ruleset)
    }

    pub(super) fn forgot(&self) -> bool {
        self.rules().forgot()
    }

    pub(super) fn forget(&self) {
        self.rules().forget();
    }

    pub(super) fn learn(&self, address: IpAddr, route: Route, ttl: Duration) {
        self.rules().learn(address, route, ttl);
    }

    pub(super) fn direct(&self) -> DirectCounts {
        self.rules().direct().unwrap().unwrap()
    }

    pub(super) fn look_up(&self, address: IpAddr) -> KernelAnswer {
        self.rules().look_up(address).unwrap()
    }

    pub(super) fn counts(&self) -> bool {
        self.rules().direct().is_some()
    }

    pub(super) fn release(&self) -> Result<(), Error> {
        self.rules().release()
    }

    /// What the tool of this backend shows of a set.
    #[expect(clippy::unused_self, reason = "there are no sets without it")]
    pub(super) fn list(&self, set: &str) -> String {
        match variant() {
            Variant::Nft | Variant::Legacy => run(&format!("ipset list snet-{set}")),
            Variant::Native => run(&format!("nft list set inet snet {set}")),
        }
    }

    /// How long an address stays in a set.
    pub(super) fn seconds_left(&self, set: &str, address: &str) -> u64 {
        let listed = self.list(set);
        let (_, entry) = listed.split_once(&format!("{address} timeout ")).unwrap();
        let left = match variant() {
            Variant::Nft | Variant::Legacy => entry,
            Variant::Native => entry.split_once("expires ").unwrap().1,
        };
        seconds(left.split_whitespace().next().unwrap())
    }

    pub(super) fn remove(mut self) -> Result<(), Error> {
        drop(self.heart.take());
        Arc::into_inner(self.rules.take().unwrap()).unwrap().remove()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The last one who has the rules removes them, and that shall be this thread.
        drop(self.heart.take());
    }
}

impl Heart {
    fn start(rules: &Arc<Box<dyn Installed>>) -> Heart {
        let (stop, stopped) = mpsc::channel();
        let rules = Arc::clone(rules);
        let beats = thread::spawn(move || {
            let rest = Duration::from_secs(1);
            while stopped.recv_timeout(rest) == Err(mpsc::RecvTimeoutError::Timeout) {
                // A test may have taken the sets away: the result does not matter.
                let _ = rules.beat(Switches::CAPTURE);
            }
        });
        Heart { stop: Some(stop), beats: Some(beats) }
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.beats.take().map(JoinHandle::join);
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
