//! The heartbeat that keeps the rules active.
//!
//! Every rule of ours that captures asks a switch of its family, which turns itself off after a few
//! seconds ([`crate::firewall::RULE_LIFETIME`]). Every two seconds a round proves capture
//! ([`proof`](super::proof)) and sets the switches by what it has found: when the daemon hangs,
//! dies or is stopped, or when others' rules drop the packets, the rules let go within seconds, or
//! reject with `firewall.on-failure = "closed"`. One family never takes the other down. systemd's
//! watchdog is fed as long as a listener answers: others' rules are no reason to kill the daemon.

mod judge;
mod listeners;

pub(super) use judge::LossPolicy;
pub(super) use listeners::Listeners;

use super::notify;
use super::proof::{Finding, PATIENCE, Proof, ProofFailure};
use crate::firewall::{Family, Switch, Switches};
use judge::{FamilyState, Judge};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// Between two rounds. The kernel's entries live three times as long
/// ([`crate::firewall::RULE_LIFETIME`]).
const INTERVAL: Duration = Duration::from_secs(2);

/// What is done with what a round has found.
pub(super) trait Effects: Send + Sync + 'static {
    /// Sets the switches. Returns whether they are set.
    fn set_switches(&self, switches: Switches) -> impl Future<Output = bool> + Send;

    /// The daemon answers.
    fn alive(&self);

    /// What others' rules do with the packets of this family's proof, and the remedy. Takes its
    /// time.
    fn explain(&self, family: Family) -> impl Future<Output = Option<String>> + Send;
}

#[derive(Debug)]
pub(super) struct Heartbeat<A> {
    effects: Arc<A>,
    proof: Proof,
    listeners: Listeners,
    /// The families, IPv4 first, that the rules redirect.
    captures: [bool; 2],
    /// Others have changed rules: a round comes at once.
    changed: Arc<Notify>,
    judge: Judge,
    /// What was told last of each family.
    told: [Option<(FamilyState, Switch)>; 2],
    explanations: Arc<[Explanation; 2]>,
    /// No listener answers.
    is_silent: bool,
}

/// Whose rules drop what a family's proof sends, as far as it is known by now.
#[derive(Debug, Default)]
struct Explanation {
    /// A search that was begun for an earlier number is out of date.
    number: AtomicU64,
    /// Others' rules do.
    blames_others: AtomicBool,
}

impl<A: Effects> Heartbeat<A> {
    pub(super) fn new(
        effects: A,
        proof: Proof,
        listeners: Listeners,
        captures: [bool; 2],
        policy: LossPolicy,
    ) -> Self {
        Heartbeat {
            effects: Arc::new(effects),
            proof,
            listeners,
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

    /// The first round, before anything is captured; it is made twice if it fails. Sets the
    /// switches.
    ///
    /// # Errors
    /// No family is captured, and why.
    pub(super) async fn prove(&mut self) -> Result<(), String> {
        let (mut found, mut silent) = self.round().await;
        if found.iter().any(|found| matches!(found, Some(Finding::Broken(_)))) {
            tokio::time::sleep(PATIENCE / 8).await;
            (found, silent) = self.round().await;
        }
        let (states, switches) =
            self.judge.judge([found[0].as_ref(), found[1].as_ref()], silent.is_none());
        let is_good =
            |state: &FamilyState| matches!(state, FamilyState::Captured | FamilyState::Unprovable);
        if states.contains(&FamilyState::Broken) && !states.iter().any(is_good) {
            let mut causes = Vec::new();
            for (family, found) in Family::ALL.into_iter().zip(&found) {
                if let Some(Finding::Broken(broken)) = found {
                    causes.push(told_of(family, broken, self.effects.explain(family).await));
                }
            }
            return Err(causes.join("; "));
        }
        if !self.effects.set_switches(switches).await {
            return Err("the rules cannot be activated".into());
        }
        self.tell(states, switches, &found);
        Ok(())
    }

    /// Makes rounds until `stopped` turns true. Returns true.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) -> bool {
        let changed = Arc::clone(&self.changed);
        let mut ticks = interval(INTERVAL);
        // After a suspend one round is enough, at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return true,
                () = changed.notified() => ticks.reset(),
                _ = ticks.tick() => {}
            }
            let (found, silent) = self.round().await;
            // A listener that does not answer was told to stop.
            if *stopped.borrow() || stopped.has_changed().is_err() {
                return true;
            }
            if silent.is_some() && !self.is_silent {
                // The rules that were blamed before explain nothing of it.
                self.forget_explanations();
            }
            let (states, switches) =
                self.judge.judge([found[0].as_ref(), found[1].as_ref()], silent.is_none());
            if self.captures != [false; 2] {
                self.effects.set_switches(switches).await;
            }
            self.tell(states, switches, &found);
            // Packets that others' rules drop are no reason to be killed.
            let blames = |it: &Explanation| it.blames_others.load(Ordering::Relaxed);
            if silent.is_none() || self.explanations.iter().any(blames) {
                self.effects.alive();
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

    /// Both families at once, and the daemon's ports: a round takes no longer than its slowest
    /// answer. Returns what of the daemon is silent, if no listener answers.
    async fn round(&self) -> ([Option<Finding>; 2], Option<ProofFailure>) {
        let of = async |place: usize, family: Family| {
            if self.captures[place] { Some(self.proof.of(family).await) } else { None }
        };
        let (v4, v6, answers) =
            tokio::join!(of(0, Family::V4), of(1, Family::V6), self.listeners.answer());
        // A connection that went through the redirect was answered, too.
        let is_captured = [&v4, &v6].iter().any(|found| matches!(found, Some(Finding::Captured)));
        let silent = answers.err().filter(|_| !is_captured);
        let judged = |found: Option<Finding>| match (found?, &silent) {
            (Finding::Captured, _) => Some(Finding::Captured),
            // Nothing is proven: then at least a listener has to answer.
            (Finding::NoRoute | Finding::Unprovable(_) | Finding::Broken(_), Some(silent)) => {
                Some(Finding::Broken(silent.again()))
            }
            (found, None) => Some(found),
        };
        let found = [judged(v4), judged(v6)];
        (found, silent)
    }

    fn tell_silence(&mut self, silent: Option<ProofFailure>) {
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
    fn tell(&mut self, states: [FamilyState; 2], switches: Switches, found: &[Option<Finding>; 2]) {
        let switches = [switches.v4, switches.v6];
        for (place, family) in Family::ALL.into_iter().enumerate() {
            let (state, before) = (states[place], self.told[place]);
            let is = (state, switches[place]);
            if state == FamilyState::Doubtful || before == Some(is) {
                continue;
            }
            self.told[place] = Some(is);
            let explanation = &self.explanations[place];
            let number = explanation.number.fetch_add(1, Ordering::Relaxed) + 1;
            explanation.blames_others.store(false, Ordering::Relaxed);
            match (state, &found[place]) {
                (FamilyState::Broken, Some(Finding::Broken(broken))) => {
                    self.explain(family, number, broken.again(), self.effect(switches[place]));
                }
                (FamilyState::Unprovable, Some(Finding::Unprovable(error))) => warn!(
                    "health check: {family} is taken for captured, which cannot be proven: there \
                     is no way to {} ({error})",
                    crate::firewall::probe::address(family)
                ),
                (FamilyState::Captured, _) if matches!(before, Some((FamilyState::Broken, _))) => {
                    info!("health check: {family} is captured again");
                    notify::status(&format!("{family} is captured again"));
                }
                _ => {}
            }
        }
    }

    /// In a task of its own: tools may take their time, and the other family must be kept active. A
    /// port that does not answer may be shut off by others, too.
    fn explain(&self, family: Family, number: u64, broken: ProofFailure, effect: &'static str) {
        let (effects, explanations) = (Arc::clone(&self.effects), Arc::clone(&self.explanations));
        tokio::spawn(async move {
            let why = effects.explain(family).await;
            let explanation = &explanations[place(family)];
            if explanation.number.load(Ordering::Relaxed) == number {
                explanation.blames_others.store(why.is_some(), Ordering::Relaxed);
                let cause = told_of(family, &broken, why);
                warn!("health check: not captured: {cause}; foreign {family} {effect}");
                notify::status(&format!("not captured: {cause}"));
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

fn told_of(family: Family, broken: &ProofFailure, why: Option<String>) -> String {
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
