//! The heartbeat that keeps the rules active.
//!
//! Every rule of ours that captures asks a switch of its family, which turns itself off after a few
//! seconds ([`crate::firewall::RULE_LIFETIME`]). Every two seconds a round proves capture
//! ([`proof`](super::proof)) and sets the switches by what it has found: when the daemon hangs,
//! dies or is stopped, or when others' rules drop the packets, the rules let go within seconds, or
//! reject with `firewall.on-failure = "closed"`. One family never takes the other down, and foreign
//! UDP, which has a way, a proof and a switch of its own, takes nothing else down. systemd's
//! watchdog is fed as long as a listener answers: others' rules are no reason to kill the daemon.

mod judge;
mod listeners;
mod report;

pub(super) use judge::LossPolicy;
pub(super) use listeners::Listeners;

use super::proof::{CaptureWay, Finding, PATIENCE, Proof, ProofFailure};
use crate::family::Family;
use crate::firewall::{Switch, Switches};
use judge::{FamilyState, Judge};
use report::{Report, told_of};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// Between two rounds. The kernel's entries live three times as long
/// ([`crate::firewall::RULE_LIFETIME`]).
const INTERVAL: Duration = Duration::from_secs(2);

/// What is done with what a round has found.
pub(super) trait Effects: Send + Sync + 'static {
    /// The families, IPv4 first, of which the rules capture foreign UDP; a reload may change it.
    fn captures_datagrams(&self) -> [bool; 2];

    /// Sets the switches. Returns whether they are set.
    fn set_switches(&self, switches: Switches) -> impl Future<Output = bool> + Send;

    /// What became of a way of a family, for those who ask.
    fn note(&self, way: CaptureWay, family: Family, is_good: bool, state: String);

    /// The daemon answers.
    fn alive(&self);

    /// What others' rules do with the packets of this proof, and the remedy. Takes its time.
    fn explain(
        &self,
        way: CaptureWay,
        family: Family,
    ) -> impl Future<Output = Option<String>> + Send;
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
    report: Report<A>,
    datagram_judge: Judge,
    datagram_report: Report<A>,
    /// No listener answers.
    is_silent: bool,
}

/// What a round has found of one way of capture.
#[derive(Debug)]
struct Round {
    /// Of each family, IPv4 first; `None`: the rules do not capture it.
    found: [Option<Finding>; 2],
    /// What of the daemon is silent, if no listener of this way answers.
    silent: Option<ProofFailure>,
}

impl Round {
    /// A listener is silent only if nothing went through the rules either, and where nothing is
    /// proven at least a listener has to answer.
    fn new([v4, v6]: [Option<Finding>; 2], answers: Result<(), ProofFailure>) -> Self {
        let is_captured = [&v4, &v6].iter().any(|found| matches!(found, Some(Finding::Captured)));
        let silent = answers.err().filter(|_| !is_captured);
        let judged = |found: Option<Finding>| match (found?, &silent) {
            (Finding::Captured, _) => Some(Finding::Captured),
            (Finding::NoRoute | Finding::Unprovable(_) | Finding::Broken(_), Some(silent)) => {
                Some(Finding::Broken(silent.again()))
            }
            (found, None) => Some(found),
        };
        Round { found: [judged(v4), judged(v6)], silent }
    }

    fn is_broken(&self) -> bool {
        self.found.iter().any(|found| matches!(found, Some(Finding::Broken(_))))
    }

    fn judged(&self, judge: &mut Judge) -> ([FamilyState; 2], [Switch; 2]) {
        judge.judge(self.found.each_ref().map(Option::as_ref), self.silent.is_none())
    }
}

impl<A: Effects> Heartbeat<A> {
    pub(super) fn new(
        effects: A,
        proof: Proof,
        listeners: Listeners,
        captures: [bool; 2],
        policy: LossPolicy,
    ) -> Self {
        let effects = Arc::new(effects);
        let report = |way| Report::new(Arc::clone(&effects), way, policy.is_closed);
        Heartbeat {
            proof,
            listeners,
            captures,
            changed: Arc::default(),
            judge: Judge::new(policy),
            report: report(CaptureWay::Redirect),
            // Blocked IPv6 is rejected with all its protocols, by the switch of the family.
            datagram_judge: Judge::new(LossPolicy { blocks_ipv6: false, ..policy }),
            datagram_report: report(CaptureWay::Datagrams),
            is_silent: false,
            effects,
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
    /// No family is captured, and why. That UDP is not is told, and no error.
    pub(super) async fn prove(&mut self) -> Result<(), String> {
        let [mut redirect, mut datagrams] = self.round().await;
        if redirect.is_broken() || datagrams.is_broken() {
            tokio::time::sleep(PATIENCE / 8).await;
            [redirect, datagrams] = self.round().await;
        }
        let (states, switches) = redirect.judged(&mut self.judge);
        let is_good =
            |state: &FamilyState| matches!(state, FamilyState::Captured | FamilyState::Unprovable);
        if states.contains(&FamilyState::Broken) && !states.iter().any(is_good) {
            let mut causes = Vec::new();
            for (family, found) in Family::ALL.into_iter().zip(&redirect.found) {
                if let Some(Finding::Broken(broken)) = found {
                    let why = self.effects.explain(CaptureWay::Redirect, family).await;
                    causes.push(told_of(&family.to_string(), broken, why));
                }
            }
            return Err(causes.join("; "));
        }
        let (datagram_states, of_datagrams) = self.judged_datagrams(&datagrams, switches);
        if !self.effects.set_switches(together(switches, of_datagrams)).await {
            return Err("the rules cannot be activated".into());
        }
        self.report.tell(states, switches, &redirect.found);
        self.datagram_report.tell(datagram_states, of_datagrams, &datagrams.found);
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
            let [redirect, datagrams] = self.round().await;
            // A listener that does not answer was told to stop.
            if *stopped.borrow() || stopped.has_changed().is_err() {
                return true;
            }
            if redirect.silent.is_some() && !self.is_silent {
                // The rules that were blamed before explain nothing of it.
                self.report.forget_explanations();
            }
            let (states, switches) = redirect.judged(&mut self.judge);
            let (datagram_states, of_datagrams) = self.judged_datagrams(&datagrams, switches);
            if self.captures != [false; 2] {
                self.effects.set_switches(together(switches, of_datagrams)).await;
            }
            self.report.tell(states, switches, &redirect.found);
            self.datagram_report.tell(datagram_states, of_datagrams, &datagrams.found);
            // Packets that others' rules drop are no reason to be killed.
            let answers = redirect.silent.is_none() && datagrams.silent.is_none();
            if answers || self.report.blames_others() || self.datagram_report.blames_others() {
                self.effects.alive();
            }
            self.tell_silence(redirect.silent);
        }
    }

    /// Both ways of both families at once, and the daemon's ports: a round takes no longer than its
    /// slowest answer.
    async fn round(&self) -> [Round; 2] {
        let of = async |captures: [bool; 2], way: CaptureWay, place: usize| {
            if captures[place] { Some(self.proof.of(way, Family::ALL[place]).await) } else { None }
        };
        let (redirect, datagrams) = (self.captures, self.effects.captures_datagrams());
        let relay = async {
            if datagrams == [false; 2] {
                return Ok(());
            }
            self.listeners.answer_datagrams().await
        };
        let (v4, v6, answers, udp4, udp6, relays) = tokio::join!(
            of(redirect, CaptureWay::Redirect, 0),
            of(redirect, CaptureWay::Redirect, 1),
            self.listeners.answer(),
            of(datagrams, CaptureWay::Datagrams, 0),
            of(datagrams, CaptureWay::Datagrams, 1),
            relay,
        );
        [Round::new([v4, v6], answers), Round::new([udp4, udp6], relays)]
    }

    /// What is not captured by the rules has its switch on: as soon as a reload captures it, it is.
    /// Of a family that is lost as a whole nothing else is to be told.
    fn judged_datagrams(
        &mut self,
        round: &Round,
        families: [Switch; 2],
    ) -> ([FamilyState; 2], [Switch; 2]) {
        let (mut states, mut switches) = round.judged(&mut self.datagram_judge);
        for place in [0, 1] {
            if round.found[place].is_none() {
                switches[place] = Switch::Capture;
            }
            if families[place] != Switch::Capture {
                states[place] = FamilyState::Doubtful;
            }
        }
        (states, switches)
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
}

/// What is captured, and what of it.
fn together([v4, v6]: [Switch; 2], datagrams: [Switch; 2]) -> Switches {
    Switches { v4, v6, datagrams }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::proof::ProofPart;

    fn failure(what: ProofPart) -> ProofFailure {
        ProofFailure { what, error: std::io::ErrorKind::TimedOut.into() }
    }

    fn broken() -> Option<Finding> {
        Some(Finding::Broken(failure(ProofPart::Datagram)))
    }

    fn silent() -> Result<(), ProofFailure> {
        Err(failure(ProofPart::UdpListener))
    }

    #[test]
    fn a_listener_that_hangs_keeps_nothing_alive() {
        let hung = Round::new([broken(), Some(Finding::NoRoute)], silent());
        assert!(hung.silent.is_some());
        for found in &hung.found {
            let Some(Finding::Broken(broken)) = found else { panic!("{found:?}") };
            assert_eq!(broken.what, ProofPart::UdpListener);
        }
        let (_, switches) = hung.judged(&mut Judge::new(LossPolicy::default()));
        assert_eq!(switches, [Switch::Off; 2]);
    }

    #[test]
    fn what_was_answered_through_the_rules_is_no_silence() {
        let one = Round::new([Some(Finding::Captured), broken()], silent());
        assert!(one.silent.is_none());
        let Some(Finding::Broken(left)) = &one.found[1] else { panic!("{:?}", one.found) };
        assert_eq!(left.what, ProofPart::Datagram);
        // And one that answers while others drop what is captured is none either.
        assert!(Round::new([broken(), broken()], Ok(())).silent.is_none());
        assert!(Round::new([None, None], Ok(())).found.iter().all(Option::is_none));
    }
}
