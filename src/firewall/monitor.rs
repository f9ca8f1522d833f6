//! Follows the network while the rules are installed: addresses, routes and interfaces come and
//! go, and with them the prefixes on the links and the interfaces of the LAN side.
//!
//! A thread of its own, which waits for word from the kernel and then looks around anew. It knows
//! no backend: whoever starts it gets the [`Ruleset`] before and after.

use super::route_netlink::Changes;
use super::ruleset::Ruleset;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// An interface comes up in steps: link, address, route. It is looked at when all has been quiet
/// for so long, so that an uplink is not taken for LAN side while it waits for its default route.
const QUIET: Duration = Duration::from_millis(300);

/// But not later than that after the first word.
const LATEST: Duration = Duration::from_secs(2);

/// The thread. Its drop ends it.
#[derive(Debug)]
pub(super) struct Monitor {
    /// The thread ends when this end is closed.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Starts to follow the network of the calling thread. `apply` is told what the rules depended
    /// on before and what they depend on now; the first time at once, if something has changed
    /// since `ruleset` was made.
    ///
    /// # Errors
    /// No netlink socket, no thread.
    pub(super) fn start(
        ruleset: Ruleset,
        apply: impl FnMut(&Ruleset, &Ruleset) + Send + 'static,
    ) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let changes = Changes::subscribe()?;
        let thread = thread::Builder::new().name("snet-network".into()).spawn(move || {
            if let Err(error) = follow(&changes, &stopped, ruleset, apply) {
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

fn follow(
    changes: &Changes,
    stopped: &UnixStream,
    mut now: Ruleset,
    mut apply: impl FnMut(&Ruleset, &Ruleset),
) -> io::Result<()> {
    let mut told = None;
    loop {
        let mut next = now.clone();
        match next.look_around() {
            Ok(()) if next == now => {}
            Ok(()) => {
                say(&now, &next);
                apply(&now, &next);
                now = next;
                told = None;
            }
            // What was known stays in force, for instance while the only uplink is redialled.
            Err(error) => {
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    warn!("the rules stay as they are: {error}");
                    told = Some(error);
                }
            }
        }
        if !wait(changes, stopped)? {
            return Ok(());
        }
    }
}

/// Waits for a change, and for quiet after it. `false`: it is time to end.
fn wait(changes: &Changes, stopped: &UnixStream) -> io::Result<bool> {
    let mut limit = PollTimeout::NONE;
    let mut first = None;
    loop {
        let mut ready = [
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
            PollFd::new(changes.as_fd(), PollFlags::POLLIN),
        ];
        let count = match poll(&mut ready, limit) {
            Err(Errno::EINTR) => continue,
            count => count?,
        };
        if ready[0].any() != Some(false) {
            return Ok(false);
        }
        let first = *first.get_or_insert_with(Instant::now);
        if count == 0 || first.elapsed() >= LATEST {
            return Ok(true);
        }
        changes.drain()?;
        limit = PollTimeout::try_from(QUIET).unwrap_or(PollTimeout::ZERO);
    }
}

fn say(before: &Ruleset, after: &Ruleset) {
    let (Some(before), Some(after)) = (&before.lan, &after.lan) else { return };
    if before.describe() != after.describe() {
        info!("the LAN side is now: {}", after.describe());
    }
    let known = before.doubts();
    for doubt in after.doubts().iter().filter(|doubt| !known.contains(doubt)) {
        warn!("{doubt}");
    }
}
