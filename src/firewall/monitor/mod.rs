//! Follows the world while the rules are installed: addresses, routes and interfaces come and go,
//! and with them the prefixes on the links and the interfaces of the LAN side; other programs
//! change the firewall, and may take our rules with them.
//!
//! A thread of its own, which waits for word from the kernel and then looks anew. It knows no
//! backend: that one [`Follow`]s.

use super::device_routes;
use super::exempt_programs::Word as CgroupWord;
use super::monitor::backoff::Fight;
use super::netlink::route::Changes;
use super::netlink::tables::TableChanges;
use super::ruleset::Ruleset;
use super::tools::has_silent_tables;
mod backoff;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// An interface comes up in steps: link, address, route; a firewall is loaded in pieces. It is
/// looked at when all has been quiet for so long, so that an uplink is not taken for LAN side
/// while it waits for its default route.
const QUIET: Duration = Duration::from_millis(300);

/// But not later than that after the first word.
const LATEST: Duration = Duration::from_secs(2);

/// How often the rules are looked at: not more, since some programs change the firewall all the
/// time, and where there is no word of changes (iptables-legacy) not less. Rarer in a [`Fight`].
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// How often the forwarding rules of others are read where nobody tells of changes (iptables-legacy).
const UNTOLD: Duration = Duration::from_secs(10);

/// What a backend does about changes.
pub(super) trait Follow: Send {
    /// The network is no longer as in `before`; adapt the sets.
    fn network(&mut self, before: &Ruleset, after: &Ruleset);

    /// Looks whether the rules are still in place, and puts back whatever can be.
    fn rules(&mut self, now: &Ruleset) -> Look;

    /// Whether the kernel gives word of changes of our own rules (nf_tables does).
    fn has_word(&self) -> bool;

    /// What there is no word of, and costs little to ask every few seconds.
    fn is_disturbed(&self, now: &Ruleset) -> bool;
}

/// What a look at the rules has found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// What was missing and is in place again, in words.
    pub(super) mended: Vec<String>,
    /// Why something could not be put back.
    pub(super) failed: Option<String>,
}

impl Look {
    /// Takes in what became of one part.
    pub(super) fn note(&mut self, part: Result<Option<String>, impl ToString>) {
        match part {
            Ok(mended) => self.mended.extend(mended),
            Err(error) => drop(self.failed.get_or_insert_with(|| error.to_string())),
        }
    }
}

/// The thread. Its drop ends it.
#[derive(Debug)]
pub(super) struct Monitor {
    /// The thread ends when this end is closed.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Follows the network namespace of the calling thread from now on.
    ///
    /// # Errors
    /// No netlink socket, no thread.
    pub(super) fn start(ruleset: Ruleset, follow: impl Follow + 'static) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let tables = match TableChanges::subscribe() {
            Err(error) if follow.has_word() => return Err(error),
            tables => tables.ok(),
        };
        let cgroups = &ruleset.left_alone.cgroups;
        let cgroups = if cgroups.is_empty() { None } else { Some(CgroupWord::new()?) };
        let watch = Watch { stopped, network: Changes::subscribe()?, tables, cgroups };
        let thread = thread::Builder::new().name("snet-network".into()).spawn(move || {
            if let Err(error) = watch.follow(ruleset, follow) {
                warn!("changes of the network are no longer followed: {error}; restart snet");
            }
        })?;
        Ok(Monitor { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// What the thread waits for.
struct Watch {
    stopped: UnixStream,
    network: Changes,
    /// `None`: the kernel has no nf_tables.
    tables: Option<TableChanges>,
    /// `None`: there are none to be followed.
    cgroups: Option<CgroupWord>,
}

/// What there was word of.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    network: bool,
    /// Rules of others, or ours of iptables-nft.
    rules: bool,
}

impl Watch {
    fn follow(&self, mut now: Ruleset, mut follow: impl Follow) -> io::Result<()> {
        let mut told = None;
        // The rules have just been looked at; the network, a moment before the subscription.
        let mut looked = Instant::now();
        let mut until = QUIET;
        let mut fight = Fight::default();
        let mut bound = device_routes::Follower::default();
        // All may have changed before the subscription.
        let (mut heard, mut pending, mut others) = (true, true, true);
        let mut read = Instant::now();
        bound.look(&now);
        self.listen(&now);
        while let Some(word) = self.wait(until, || bound.look(&now))? {
            heard |= word.network;
            pending |= word.rules || !follow.has_word();
            others |= word.rules;
            let mut next = now.clone();
            // Only router mode asks what others forward, and like our own rules not more often than that.
            let is_time = looked.elapsed() >= fight.rest(Instant::now());
            let untold = || read.elapsed() >= UNTOLD && has_silent_tables();
            if now.lan.is_some() && is_time && (others || untold()) {
                next.forget_others();
                (heard, others, read) = (true, false, Instant::now());
            }
            // The routes of a large router are not read every few seconds.
            let around = if std::mem::take(&mut heard) { next.look_around() } else { Ok(()) };
            if self.cgroups.is_some() {
                self.listen(&now);
                next.left_alone.look();
            }
            match around {
                Ok(()) if next == now => {}
                Ok(()) => {
                    follow.network(&now, &next);
                    say(&now, &next);
                    now = next;
                    told = None;
                }
                // What was known stays in force, for instance while the only uplink is redialled.
                Err(error) => {
                    // And it is looked at again, whether there is word or not.
                    heard = true;
                    let error = error.to_string();
                    if told.as_ref() != Some(&error) {
                        warn!("the rules stay as they are: {error}");
                        told = Some(error);
                    }
                }
            }
            let rest = fight.rest(Instant::now()).saturating_sub(looked.elapsed());
            if rest > Duration::ZERO {
                until = rest;
                continue;
            }
            if std::mem::take(&mut pending) || follow.is_disturbed(&now) {
                let look = follow.rules(&now);
                fight.looked(Instant::now(), look);
            }
            looked = Instant::now();
            until = fight.rest(looked);
        }
        Ok(())
    }

    fn listen(&self, now: &Ruleset) {
        if let Some(cgroups) = &self.cgroups {
            cgroups.listen(&now.left_alone);
        }
    }

    /// Waits for a change and for quiet after it, or so long. Returns what there was word of; `None`: it
    /// is time to end. What cannot wait for quiet is done `at_once`.
    fn wait(&self, limit: Duration, mut at_once: impl FnMut()) -> io::Result<Option<Word>> {
        let mut word = Word::default();
        let mut latest = None;
        let mut deadline = Instant::now() + limit;
        loop {
            let mut ready = vec![
                PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.network.as_fd(), PollFlags::POLLIN),
            ];
            let tables = self.tables.as_ref();
            let cgroups = self.cgroups.as_ref();
            ready.extend(cgroups.map(|word| PollFd::new(word.as_fd(), PollFlags::POLLIN)));
            ready.extend(tables.map(|tables| PollFd::new(tables.as_fd(), PollFlags::POLLIN)));
            let left = deadline.saturating_duration_since(Instant::now());
            // poll(2) counts whole milliseconds.
            let left = left + Duration::from_millis(u64::from(!left.is_zero()));
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let count = match poll(&mut ready, timeout) {
                Err(Errno::EINTR) => continue,
                count => count?,
            };
            if ready[0].any() != Some(false) {
                return Ok(None);
            }
            if count == 0 {
                return Ok(Some(word));
            }
            if let Some(cgroups) = cgroups
                && ready[2].any() != Some(false)
            {
                // Its first program is about to run: not when all is quiet, but now.
                cgroups.drain();
                return Ok(Some(word));
            }
            let network = ready[1].any() != Some(false);
            if self.network.drain()? {
                at_once();
            }
            let rules = self.tables.as_ref().map_or(Ok(false), TableChanges::drain)?;
            // Elements of sets are no word, and do not prolong the waiting for it.
            if network || rules {
                let now = Instant::now();
                let latest = *latest.get_or_insert(now + LATEST);
                deadline = latest.min(now + QUIET);
                word = Word { network: word.network || network, rules: word.rules || rules };
            } else if Instant::now() >= deadline {
                return Ok(Some(word));
            }
        }
    }
}

fn say(before: &Ruleset, after: &Ruleset) {
    let cgroups = before.left_alone.cgroups.iter().zip(&after.left_alone.cgroups);
    for (_, now) in cgroups.filter(|(before, now)| before.id != now.id) {
        match now.id {
            Some(_) => info!("cgroup {} is there, and left alone", now.path),
            None => info!("cgroup {} is gone", now.path),
        }
    }
    let (Some(before), Some(after)) = (&before.lan, &after.lan) else { return };
    if before.describe() != after.describe() {
        info!("the LAN side is now: {}", after.describe());
    }
    let known = before.doubts();
    for doubt in after.doubts().iter().filter(|doubt| !known.contains(doubt)) {
        warn!("{doubt}");
    }
}
