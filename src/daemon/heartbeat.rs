//! The heartbeat that keeps the rules active.
//!
//! Every rule of ours that captures asks a switch of its family, which turns itself off after a few
//! seconds ([`crate::firewall::PULSE`]). The heartbeat sets the switches every two seconds, and only
//! by what it has just seen ([`proof`](super::proof)): whatever hangs, dies or is stopped, and
//! whatever others' rules drop, the rules let go within seconds, or reject with
//! `firewall.on-failure = "closed"`. One family never takes the other down. systemd's watchdog is fed
//! as long as the daemon serves anybody: others' rules are no reason to kill it.

mod judge;

pub(super) use judge::Policy;

use super::proof::{Broken, Found, PATIENCE, Proof, What, bounded};
use crate::firewall::{Family, Switch, Switches};
use crate::net::Outbound;
use judge::{Judge, State};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

/// Between two beats. The kernel's entries live three times as long ([`crate::firewall::PULSE`]).
const INTERVAL: Duration = Duration::from_secs(2);

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
    /// Sets the switches. Returns whether they are set.
    fn beat(&self, switches: Switches) -> impl Future<Output = bool> + Send;

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
    /// Others have changed rules: a beat comes at once.
    changed: Arc<Notify>,
    judge: Judge,
    /// What was told last of each family.
    told: [Option<(State, Switch)>; 2],
    explanations: Arc<[Explanation; 2]>,
    /// No listener answers.
    is_silent: bool,
}

/// Who drops what a family's proof sends, as far as it is known by now.
#[derive(Debug, Default)]
struct Explanation {
    /// A search that was begun for an earlier number is out of date.
    number: AtomicU64,
    /// Others' rules do.
    blames_others: AtomicBool,
}

impl<A: Act> Heartbeat<A> {
    pub(super) fn new(
        act: A,
        proof: Proof,
        parts: Parts,
        captures: [bool; 2],
        policy: Policy,
    ) -> Self {
        Heartbeat {
            act: Arc::new(act),
            proof,
            parts,
            captures,
            changed: Arc::default(),
            judge: Judge::new(policy),
            told: [None; 2],
            explanations: Arc::default(),
            is_silent: false,
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
        let (mut found, mut silent) = self.round().await;
        if found.iter().any(|found| matches!(found, Some(Found::Broken(_)))) {
            tokio::time::sleep(PATIENCE / 8).await;
            (found, silent) = self.round().await;
        }
        let (states, switches) =
            self.judge.judge([found[0].as_ref(), found[1].as_ref()], silent.is_none());
        let is_good = |state: &State| matches!(state, State::Captured | State::Unprovable);
        if states.contains(&State::Broken) && !states.iter().any(is_good) {
            let mut causes = Vec::new();
            for (family, found) in Family::ALL.into_iter().zip(&found) {
                if let Some(Found::Broken(broken)) = found {
                    causes.push(told_of(family, broken, self.act.explain(family).await));
                }
            }
            return Err(causes.join("; "));
        }
        if !self.act.beat(switches).await {
            return Err("the rules cannot be activated".into());
        }
        self.tell(states, switches, &found);
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
            if silent.is_some() && !self.is_silent {
                // Who was blamed before explains nothing of it.
                self.forget_explanations();
            }
            let (states, switches) =
                self.judge.judge([found[0].as_ref(), found[1].as_ref()], silent.is_none());
            if self.captures != [false; 2] {
                self.act.beat(switches).await;
            }
            self.tell(states, switches, &found);
            // What others' rules drop is no reason to be killed.
            let blames = |it: &Explanation| it.blames_others.load(Ordering::Relaxed);
            if silent.is_none() || self.explanations.iter().any(blames) {
                self.act.alive();
            }
            self.tell_silence(silent);
        }
    }

    fn forget_explanations(&self) {
        for explanation in self.explanations.iter() {
            explanation.number.fetch_add(1, Ordering::Relaxed);
            explanation.blames_others.store(false, Ordering::Relaxed);
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
        // A connection that went through the redirect was answered, too.
        let is_captured = [&v4, &v6].iter().any(|found| matches!(found, Some(Found::Captured)));
        let silent = answers.err().filter(|_| !is_captured);
        let judged = |found: Option<Found>| match (found?, &silent) {
            (Found::Captured, _) => Some(Found::Captured),
            // Nothing is proven: then at least somebody has to be at home.
            (Found::NoRoute | Found::Unprovable(_) | Found::Broken(_), Some(silent)) => {
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

    /// Each change of a family is told once, and each change of what becomes of it.
    fn tell(&mut self, states: [State; 2], switches: Switches, found: &[Option<Found>; 2]) {
        let switches = [switches.v4, switches.v6];
        for (place, family) in Family::ALL.into_iter().enumerate() {
            let (state, before) = (states[place], self.told[place]);
            let is = (state, switches[place]);
            if state == State::Doubtful || before == Some(is) {
                continue;
            }
            self.told[place] = Some(is);
            let explanation = &self.explanations[place];
            let number = explanation.number.fetch_add(1, Ordering::Relaxed) + 1;
            explanation.blames_others.store(false, Ordering::Relaxed);
            match (state, &found[place]) {
                (State::Broken, Some(Found::Broken(broken))) => {
                    self.explain(family, number, broken.again(), self.effect(switches[place]));
                }
                (State::Unprovable, Some(Found::Unprovable(error))) => warn!(
                    "health check: {family} is taken for captured, which cannot be proven: there is \
                     no way to {} ({error})",
                    crate::firewall::probe::address(family)
                ),
                (State::Captured, _) if matches!(before, Some((State::Broken, _))) => {
                    info!("health check: {family} is captured again");
                    super::notify::status(&format!("{family} is captured again"));
                }
                _ => {}
            }
        }
    }

    /// Beside the beats: tools may take their time, and the other family must be kept up. A port that
    /// does not answer may be shut off by others, too.
    fn explain(&self, family: Family, number: u64, broken: Broken, effect: &'static str) {
        let (act, explanations) = (Arc::clone(&self.act), Arc::clone(&self.explanations));
        tokio::spawn(async move {
            let why = act.explain(family).await;
            let explanation = &explanations[place(family)];
            if explanation.number.load(Ordering::Relaxed) == number {
                explanation.blames_others.store(why.is_some(), Ordering::Relaxed);
                let cause = told_of(family, &broken, why);
                warn!("health check: not captured: {cause}; foreign {family} {effect}");
                super::notify::status(&format!("not captured: {cause}"));
            }
        });
    }

    fn effect(&self, switch: Switch) -> &'static str {
        match switch {
            Switch::Reject | Switch::KeepThenReject => "is rejected meanwhile",
            _ if self.judge.policy.is_closed => {
                "is rejected meanwhile, as firewall.on-failure says"
            }
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
