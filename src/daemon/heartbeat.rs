//! The heartbeat that keeps the rules active.
//!
//! Every rule of ours that captures asks a switch of its family, which turns itself off after a few
//! seconds ([`crate::firewall::PULSE`]). The heartbeat sets the switches every two seconds, and only
//! by what it has just seen ([`proof`](super::proof)): whatever hangs, dies or is stopped, and
//! whatever others' rules drop, the rules let go within seconds, or reject with
//! `firewall.on-failure = "closed"`. One family never takes the other down. systemd's watchdog is fed
//! as long as the daemon serves anybody: others' rules are no reason to kill it.

use super::proof::{Broken, Found, PATIENCE, Proof, What, bounded};
use crate::firewall::{Family, Switch, Switches};
use crate::net::Outbound;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

/// Between two beats. The kernel's entries live three times as long ([`crate::firewall::PULSE`]).
const INTERVAL: Duration = Duration::from_secs(2);

/// A family that was captured is given up after so many rounds that failed in a row.
const STRIKES: u32 = 2;

/// `localhost. A IN`, recursion desired: the resolver answers it by itself.
const QUESTION: &[u8] =
    b"\x70\x75\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09localhost\x00\x00\x01\x00\x01";

/// The daemon's ports, asked without a redirect.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) outbound: Outbound,
    pub(super) listening: Vec<IpAddr>,
    /// `--dns-only` has none.
    pub(super) tcp: Option<u16>,
    pub(super) dns: u16,
}

/// What is done with what a round has found.
pub(super) trait Act: Send + Sync + 'static {
    /// Sets the switches.
    fn beat(&self, switches: Switches) -> impl Future<Output = ()> + Send;

    /// The daemon serves somebody.
    fn alive(&self);

    /// What others' rules do with the packets of this family's proof, and the remedy. Takes its time.
    fn explain(&self, family: Family) -> impl Future<Output = Option<String>> + Send;
}

#[derive(Debug)]
pub(super) struct Heartbeat<A> {
    act: Arc<A>,
    proof: Proof,
    parts: Parts,
    /// The families, IPv4 first, that the rules redirect.
    captures: [bool; 2],
    is_closed: bool,
    /// Others have changed rules: a beat comes at once.
    changed: Arc<Notify>,
    judge: Judge,
    /// The last state that was told.
    told: [Option<State>; 2],
    /// Others' rules are seen to drop what this family's proof sends.
    blamed: Arc<[AtomicBool; 2]>,
    /// No listener answers.
    is_silent: bool,
}

/// What a family has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Captured,
    /// Nothing to capture.
    NoRoute,
    /// Not yet given up.
    Doubtful,
    /// Nobody listens, or the tools have no such family.
    NotRedirected,
    Broken,
}

/// From rounds to switches. Pure.
#[derive(Debug, Default)]
struct Judge {
    strikes: [u32; 2],
    was_captured: [bool; 2],
}

impl Judge {
    /// `None`: the family is not redirected.
    fn judge(&mut self, found: [Option<&Found>; 2]) -> [State; 2] {
        let mut states = [State::NotRedirected; 2];
        for (place, found) in found.into_iter().enumerate() {
            let Some(found) = found else { continue };
            states[place] = match found {
                Found::Captured => State::Captured,
                Found::NoRoute => State::NoRoute,
                Found::Broken(_) => {
                    self.strikes[place] += 1;
                    match self.was_captured[place] && self.strikes[place] < STRIKES {
                        true => State::Doubtful,
                        false => State::Broken,
                    }
                }
            };
            match states[place] {
                State::Captured | State::NoRoute => {
                    self.strikes[place] = 0;
                    self.was_captured[place] = true;
                }
                State::Broken => self.was_captured[place] = false,
                State::Doubtful | State::NotRedirected => {}
            }
        }
        states
    }

    /// A family that is not captured is rejected while the other one is. One without a route is no
    /// reason for it: programs have nowhere else to go.
    fn switches(states: [State; 2]) -> Switches {
        let of = |own: State, other: State| match own {
            State::Captured | State::NoRoute => Switch::Capture,
            State::Doubtful => Switch::Keep,
            State::NotRedirected | State::Broken => match other {
                State::Captured | State::Doubtful => Switch::Reject,
                _ => Switch::Off,
            },
        };
        Switches { v4: of(states[0], states[1]), v6: of(states[1], states[0]) }
    }
}

impl<A: Act> Heartbeat<A> {
    pub(super) fn new(
        act: A,
        proof: Proof,
        parts: Parts,
        captures: [bool; 2],
        is_closed: bool,
    ) -> Self {
        let (act, judge, blamed) = (Arc::new(act), Judge::default(), Arc::default());
        let (told, is_silent) = ([None; 2], false);
        let changed = Arc::default();
        Heartbeat {
            act,
            proof,
            parts,
            captures,
            is_closed,
            changed,
            judge,
            told,
            blamed,
            is_silent,
        }
    }

    /// To be called when others have changed rules.
    pub(super) fn nudge(&self) -> Box<dyn Fn() + Send + Sync> {
        let changed = Arc::clone(&self.changed);
        Box::new(move || changed.notify_one())
    }

    /// The first round, before anything is captured; it is made twice if it fails. Sets the switches.
    ///
    /// # Errors
    /// No family is captured, and why.
    pub(super) async fn prove(&mut self) -> Result<(), String> {
        let (mut found, _) = self.round().await;
        if found.iter().any(|found| matches!(found, Some(Found::Broken(_)))) {
            tokio::time::sleep(PATIENCE / 8).await;
            (found, _) = self.round().await;
        }
        let states = self.judge.judge([found[0].as_ref(), found[1].as_ref()]);
        let is_good = |state: &State| matches!(state, State::Captured);
        let is_broken = |state: &State| *state == State::Broken;
        if states.iter().any(is_broken) && !states.iter().any(is_good) {
            let mut causes = Vec::new();
            for (family, found) in Family::ALL.into_iter().zip(&found) {
                if let Some(Found::Broken(broken)) = found {
                    causes.push(told_of(family, broken, self.act.explain(family).await));
                }
            }
            return Err(causes.join("; "));
        }
        self.act.beat(Judge::switches(states)).await;
        self.tell(states, &found);
        Ok(())
    }

    /// Beats until `stopped` turns true. Returns true.
    pub(super) async fn beat(mut self, mut stopped: watch::Receiver<bool>) -> bool {
        let changed = Arc::clone(&self.changed);
        let mut ticks = interval(INTERVAL);
        // After a suspend one beat is enough, at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return true,
                () = changed.notified() => ticks.reset(),
                _ = ticks.tick() => {}
            }
            let (found, silent) = self.round().await;
            // Whoever does not answer was told to stop.
            if *stopped.borrow() || stopped.has_changed().is_err() {
                return true;
            }
            let states = self.judge.judge([found[0].as_ref(), found[1].as_ref()]);
            if self.captures != [false; 2] {
                self.act.beat(Judge::switches(states)).await;
            }
            self.tell(states, &found);
            // What others' rules drop is no reason to be killed.
            let blamed = self.blamed.iter().any(|blamed| blamed.load(Ordering::Relaxed));
            if silent.is_none() || states.contains(&State::Captured) || blamed {
                self.act.alive();
            }
            self.tell_silence(silent);
        }
    }

    /// Both families at once, and the daemon's ports: a round takes no longer than its slowest answer.
    /// Returns what of the daemon is silent, if no listener answers.
    async fn round(&self) -> ([Option<Found>; 2], Option<Broken>) {
        let of = async |place: usize, family: Family| {
            if self.captures[place] { Some(self.proof.of(family).await) } else { None }
        };
        let (v4, v6, answers) =
            tokio::join!(of(0, Family::V4), of(1, Family::V6), self.parts.answer());
        let silent = answers.err();
        let judged = |found: Option<Found>| match (found?, &silent) {
            (Found::Captured, _) => Some(Found::Captured),
            // Nothing is proven: then at least somebody has to be at home.
            (Found::NoRoute | Found::Broken(_), Some(silent)) => {
                Some(Found::Broken(silent.again()))
            }
            (found, None) => Some(found),
        };
        let found = [judged(v4), judged(v6)];
        (found, silent)
    }

    fn tell_silence(&mut self, silent: Option<Broken>) {
        let is_told_elsewhere = self.captures != [false; 2];
        let was_silent = std::mem::replace(&mut self.is_silent, silent.is_some());
        match silent {
            Some(silent) if !was_silent && !is_told_elsewhere => warn!("health check: {silent}"),
            None if was_silent && !is_told_elsewhere => {
                info!("health check: everything answers again");
            }
            _ => {}
        }
    }

    /// Each change of a family is told once.
    fn tell(&mut self, states: [State; 2], found: &[Option<Found>; 2]) {
        for (place, family) in Family::ALL.into_iter().enumerate() {
            let (state, before) = (states[place], self.told[place]);
            if state == State::Doubtful || before == Some(state) {
                continue;
            }
            self.told[place] = Some(state);
            self.blamed[place].store(false, Ordering::Relaxed);
            match (state, &found[place]) {
                (State::Broken, Some(Found::Broken(broken))) => {
                    self.explain(family, broken.again(), self.effect(states[1 - place]));
                }
                (State::Captured, _) if before == Some(State::Broken) => {
                    info!("health check: {family} is captured again");
                    super::notify::status(&format!("{family} is captured again"));
                }
                _ => {}
            }
        }
    }

    /// Beside the beats: tools may take their time, and the other family must be kept up. A port that
    /// does not answer may be shut off by others, too.
    fn explain(&self, family: Family, broken: Broken, effect: &'static str) {
        let (act, blamed) = (Arc::clone(&self.act), Arc::clone(&self.blamed));
        tokio::spawn(async move {
            let why = act.explain(family).await;
            blamed[place(family)].store(why.is_some(), Ordering::Relaxed);
            let cause = told_of(family, &broken, why);
            warn!("health check: not captured: {cause}; foreign {family} {effect}");
            super::notify::status(&format!("not captured: {cause}"));
        });
    }

    fn effect(&self, other: State) -> &'static str {
        match other {
            State::Captured | State::Doubtful => "is rejected meanwhile",
            _ if self.is_closed => "is rejected meanwhile, as firewall.on-failure says",
            _ => "flows directly meanwhile (firewall.on-failure = \"open\")",
        }
    }
}

impl Parts {
    /// Whether the accept loop and the resolver answer, at any address that is listened on.
    async fn answer(&self) -> Result<(), Broken> {
        let mut asked = JoinSet::new();
        for address in self.listening.iter().copied() {
            let parts = self.clone();
            asked.spawn(async move { parts.answer_at(reachable(address)).await });
        }
        let mut silent = None;
        while let Some(answered) = asked.join_next().await {
            match answered {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(broken)) => silent = silent.or(Some(broken)),
                Err(panic) => {
                    let error = io::Error::other(panic);
                    silent = silent.or(Some(Broken { what: What::Resolver, error }));
                }
            }
        }
        silent.map_or(Ok(()), Err)
    }

    async fn answer_at(&self, address: IpAddr) -> Result<(), Broken> {
        let at = |port| SocketAddr::new(address, port);
        let accepts = async {
            match self.tcp {
                Some(port) => bounded(self.accept_loop(at(port))).await,
                None => Ok(()),
            }
        };
        let (accepts, resolves) = tokio::join!(accepts, bounded(self.resolver(at(self.dns))));
        accepts.map_err(|error| Broken { what: What::AcceptLoop, error })?;
        resolves.map_err(|error| Broken { what: What::Resolver, error })
    }

    /// A connection that was not redirected is turned away: that it is tells that connections are
    /// accepted and served.
    async fn accept_loop(&self, address: SocketAddr) -> io::Result<()> {
        let asked = async {
            let mut stream = self.outbound.tcp(&[address]).await?;
            stream.read(&mut [0]).await
        };
        match asked.await {
            Err(error) if !was_turned_away(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn resolver(&self, address: SocketAddr) -> io::Result<()> {
        let socket = self.outbound.udp(address).await?;
        socket.send(QUESTION).await?;
        let mut answer = [0; 512];
        // A burst of names may fill the queue and cost one datagram.
        if let Ok(answered) = timeout(PATIENCE / 2, socket.recv(&mut answer)).await {
            return answered.map(drop);
        }
        socket.send(QUESTION).await?;
        socket.recv(&mut answer).await.map(drop)
    }
}

/// A reset is the answer, and may come before the dial has set its options: they fail then
/// (setsockopt(2) EINVAL, getpeername(2) ENOTCONN). "Refused" is no answer: nobody listens.
fn was_turned_away(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionReset | InvalidInput | NotConnected)
}

fn told_of(family: Family, broken: &Broken, why: Option<String>) -> String {
    match why {
        Some(why) => format!("{family}: {broken}: {why}"),
        None => format!("{family}: {broken}"),
    }
}

fn place(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// An address to reach a listener at; a wildcard has none of its own.
fn reachable(listening: IpAddr) -> IpAddr {
    match listening {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

#[cfg(test)]
#[path = "heartbeat/tests.rs"]
mod tests;
