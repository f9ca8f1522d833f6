//! Notices that the connections of a proxy server on this machine come back to it, through us: each
//! one would make the next, for ever.
//!
//! # Theory of operation
//!
//! A program dials D and is captured; we ask the proxy server on this machine for D; it dials D, or
//! a server of its own, and is captured as well. That connection is told from others by its owner,
//! the user and the cgroup of the socket: they are those of the socket that listens at the proxy's
//! address.
//!
//! - If the user or the cgroup is that of a service, everything of this owner is this one program
//!   ([`Neighbour::is_alone`]), and a connection of its own that shall go through itself is a loop.
//!   The first one is refused.
//! - Else other programs have the same owner: all is root's on OpenWrt, or somebody started the
//!   proxy and the browser from one terminal. Then nothing is wrong with one of them. But in a loop
//!   none is answered before the next one is, so those that wait for their first byte grow; beyond
//!   [`MOST_WAITING`] it is taken for one.
//! - Where the kernel does not say whose a socket is, all count that wait, up to [`MOST_UNKNOWN`].
//!
//! The operator is told once what to write. Connections of others go on: it costs them two
//! questions to the kernel, and nothing where no proxy server is on this machine.

use super::neighbour::Neighbour;
use crate::dispatch::Dispatcher;
use crate::exempt_programs::ExemptPrograms;
use crate::net::is_own;
use crate::net::owner::{self, SocketOwner};
use crate::stats::Meter;
use crate::sync::lock;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};
use tracing::error;

/// A browser asks for so much at once, and hardly ever for more without an answer.
const MOST_WAITING: usize = 16;

/// The same of all programs together.
const MOST_UNKNOWN: usize = 64;

const MOST_NEIGHBOURS: usize = 64;

/// How long an address is taken for one of this machine, or not, without another look.
const REMEMBERED: Duration = Duration::from_secs(5);

/// What is known of the proxy servers on this machine.
#[derive(Debug, Default)]
pub(super) struct Loops(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Whether they are addresses of this machine.
    addresses: HashMap<IpAddr, (bool, Instant)>,
    neighbours: HashMap<SocketOwner, Neighbour>,
    /// By proxy: connections that may be its own, to see whether they are answered.
    waiting: HashMap<String, Vec<Weak<Meter>>>,
    /// By proxy: whom it was told of.
    told: HashMap<String, Option<SocketOwner>>,
}

/// A proxy whose server is on this machine.
struct LocalProxy<'a> {
    name: &'a str,
    server: SocketAddr,
    exempt: &'a ExemptPrograms,
}

/// Why a connection is refused.
#[derive(Debug, thiserror::Error)]
#[error("it is one of proxy \"{0}\" itself, and would go through it again")]
pub(super) struct Loop(String);

impl Loops {
    /// Whether this connection, which is to go through a proxy, is one of a proxy's own. If it may
    /// be, `meter` is watched until it was answered.
    ///
    /// # Errors
    /// It is.
    pub(super) fn look(
        &self,
        dispatcher: &Dispatcher,
        client: SocketAddr,
        destination: SocketAddr,
        meter: &Arc<Meter>,
    ) -> Result<(), Loop> {
        let mut owner = None;
        for (name, server) in dispatcher.servers() {
            if !self.is_here(server.ip()) {
                continue;
            }
            let owner = *owner.get_or_insert_with(|| owner::of_connection(client, destination));
            let certain = match (owner::of_listener(server), owner) {
                // Nobody is there, or the client is elsewhere.
                (Ok(None), _) | (_, Ok(None)) => continue,
                (Ok(Some(listener)), Ok(Some(owner))) if !listener.resembles(&owner) => continue,
                (Ok(Some(listener)), Ok(Some(_))) => Some(listener),
                (Err(_), _) | (_, Err(_)) => None,
            };
            let proxy = LocalProxy { name, server, exempt: dispatcher.exempt() };
            self.judge(&proxy, destination, certain, meter)?;
        }
        Ok(())
    }

    /// `owner`: whose both the connection and the proxy are, if that is known.
    fn judge(
        &self,
        LocalProxy { name, server, exempt }: &LocalProxy<'_>,
        destination: SocketAddr,
        owner: Option<SocketOwner>,
        meter: &Arc<Meter>,
    ) -> Result<(), Loop> {
        let mut known = self.known();
        if known.neighbours.len() > MOST_NEIGHBOURS {
            // Services that were started again.
            known.neighbours.clear();
        }
        let neighbour = owner.map(|owner| {
            let neighbour = known.neighbours.entry(owner).or_insert_with(|| Neighbour::of(owner));
            neighbour.clone()
        });
        let is_alone = neighbour.as_ref().is_some_and(Neighbour::is_alone);
        let waiting = known.waiting.entry((*name).to_owned()).or_default();
        waiting.retain(|meter| meter.upgrade().is_some_and(|meter| meter.down.get() == 0));
        let most = if owner.is_some() { MOST_WAITING } else { MOST_UNKNOWN };
        if !is_alone && waiting.len() < most {
            waiting.push(Arc::downgrade(meter));
            return Ok(());
        }
        let is_covered = neighbour.as_ref().is_some_and(|it| it.is_covered(exempt));
        if !is_covered && known.told.insert((*name).to_owned(), owner) != Some(owner) {
            let remedy = neighbour.map_or_else(
                || "write the user it runs as into rules.direct-users".into(),
                |neighbour| neighbour.remedy(),
            );
            let what = if is_alone {
                format!("are captured and come back to it: refused one to {destination}")
            } else {
                format!(
                    "seem to be captured and to come back to it: {most} of its user or cgroup wait \
                     for an answer, and one more, to {destination}, was refused"
                )
            };
            error!(
                "the connections of proxy \"{name}\", which is a program of this machine \
                 ({server}), {what}; {remedy} (this is said once)"
            );
        }
        Err(Loop((*name).to_owned()))
    }

    fn is_here(&self, address: IpAddr) -> bool {
        if address.is_loopback() {
            return true;
        }
        let mut known = self.known();
        let now = Instant::now();
        match known.addresses.get(&address) {
            Some((is_here, seen)) if now.duration_since(*seen) < REMEMBERED => *is_here,
            _ => {
                let is_here = is_own(address);
                known.addresses.retain(|_, (_, seen)| now.duration_since(*seen) < REMEMBERED);
                known.addresses.insert(address, (is_here, now));
                is_here
            }
        }
    }

    /// Each change of it is one assignment: a panic leaves it whole.
    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::Uid;

    const SERVER: &str = "127.0.0.1:7890";

    fn judge(loops: &Loops, owner: Option<u32>, meter: &Arc<Meter>) -> bool {
        let owner = owner.map(|user| SocketOwner { user: Uid::from_raw(user), cgroup: None });
        let destination = "203.0.113.1:443".parse().unwrap();
        let (server, exempt) = (SERVER.parse().unwrap(), &ExemptPrograms::default());
        let proxy = LocalProxy { name: "local", server, exempt };
        loops.judge(&proxy, destination, owner, meter).is_ok()
    }

    fn meters(count: usize) -> Vec<Arc<Meter>> {
        (0..count).map(|_| Arc::default()).collect()
    }

    #[test]
    fn a_service_is_refused_at_once() {
        assert!(!judge(&Loops::default(), Some(990), &Arc::default()));
    }

    #[test]
    fn others_are_refused_when_too_many_wait_for_their_first_byte() {
        for (owner, most) in [(Some(0), MOST_WAITING), (None, MOST_UNKNOWN)] {
            let loops = Loops::default();
            let mut open = meters(most);
            assert!(open.iter().all(|meter| judge(&loops, owner, meter)));
            let late = Arc::default();
            assert!(!judge(&loops, owner, &late), "one too many of {owner:?}");
            open[3].down.add(1);
            assert!(judge(&loops, owner, &late), "one was answered");
            assert!(!judge(&loops, owner, &Arc::default()));
            open.pop();
            assert!(judge(&loops, owner, &Arc::default()), "one has ended");
        }
    }
}
