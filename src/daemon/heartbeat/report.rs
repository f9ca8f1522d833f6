//! What the operator is told of one way of capture: each change of a family once, with the rule
//! that is to blame where one is found.

use super::Effects;
use super::judge::FamilyState;
use crate::daemon::capture_board::NO_ROUTE;
use crate::daemon::notify;
use crate::daemon::proof::{CaptureWay, Finding, ProofFailure};
use crate::family::Family;
use crate::firewall::Switch;
use crate::probe;
use crate::sync::{AtomicU64, lock};
use crate::task;
use crate::warnings::Complaint;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tracing::info;

#[derive(Debug)]
pub(super) struct Report<A> {
    effects: Arc<A>,
    way: CaptureWay,
    /// `firewall.on-failure = "closed"`
    is_closed: bool,
    /// What was told last of each family.
    told: [Option<(FamilyState, Switch)>; 2],
    explanations: Arc<[Explanation; 2]>,
}

/// Whose rules drop what a family's proof sends, as far as it is known by now.
#[derive(Debug, Default)]
struct Explanation {
    /// A search that was begun for an earlier number is out of date.
    number: AtomicU64,
    /// Others' rules do.
    blames_others: AtomicBool,
    /// What the operator was told.
    told: Mutex<Complaint>,
}

impl<A: Effects> Report<A> {
    pub(super) fn new(effects: Arc<A>, way: CaptureWay, is_closed: bool) -> Self {
        Report { effects, way, is_closed, told: [None; 2], explanations: Arc::default() }
    }

    /// Whether the rules of other programs are known to drop what is sent.
    pub(super) fn blames_others(&self) -> bool {
        self.explanations.iter().any(|it| it.blames_others.load(Ordering::Relaxed))
    }

    pub(super) fn forget_explanations(&self) {
        for explanation in self.explanations.iter() {
            explanation.number.fetch_add(1, Ordering::Relaxed);
            explanation.blames_others.store(false, Ordering::Relaxed);
        }
    }

    /// Each change of a family is told once, and each change of what becomes of it.
    pub(super) fn tell(
        &mut self,
        states: [FamilyState; 2],
        switches: [Switch; 2],
        found: &[Option<Finding>; 2],
    ) {
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
            let what = self.way.subject(family);
            self.note(family, state, switches[place]);
            // What is still lost is told anew, with what becomes of it now.
            if state != FamilyState::Broken {
                lock(&explanation.told).clear();
            }
            match (state, &found[place]) {
                (FamilyState::Broken, Some(Finding::Broken(broken))) => {
                    self.explain(place, number, broken.again(), self.effect(switches[place]));
                }
                (FamilyState::Unprovable, Some(Finding::Unprovable(error))) => {
                    let address = probe::address(family);
                    lock(&explanation.told).set(Some(format!(
                        "health check: {what} is taken for captured, which cannot be proven: there \
                         is no way to {address} ({error})"
                    )));
                }
                (FamilyState::Captured, _) if matches!(before, Some((FamilyState::Broken, _))) => {
                    info!("health check: {what} is captured again");
                    notify::status(&format!("{what} is captured again"));
                }
                _ => {}
            }
        }
    }

    /// In a task of its own: tools may take their time, and the other family must be kept active. A
    /// port that does not answer may be shut off by others, too.
    fn explain(&self, place: usize, number: u64, broken: ProofFailure, effect: &'static str) {
        let (effects, explanations) = (Arc::clone(&self.effects), Arc::clone(&self.explanations));
        let (way, family) = (self.way, Family::ALL[place]);
        let what = self.way.subject(family);
        task::spawn(async move {
            let why = effects.explain(way, family).await;
            let explanation = &explanations[place];
            if explanation.number.load(Ordering::Relaxed) == number {
                explanation.blames_others.store(why.is_some(), Ordering::Relaxed);
                let state = told_of("not captured", &broken, why.clone());
                effects.note(way, family, false, format!("{state}; what is foreign {effect}"));
                let cause = told_of(&what, &broken, why);
                let told = format!("health check: not captured: {cause}; foreign {what} {effect}");
                lock(&explanation.told).set(Some(told));
                notify::status(&format!("not captured: {cause}"));
            }
        });
    }

    fn note(&self, family: Family, state: FamilyState, switch: Switch) {
        let (is_good, words) = match state {
            FamilyState::Captured => (true, "captured, and proven"),
            FamilyState::NoRoute => (true, NO_ROUTE),
            FamilyState::Unprovable => (true, "taken for captured, which cannot be proven"),
            // UDP that nobody wants captured is not worth a line.
            FamilyState::NotRedirected if self.way == CaptureWay::Datagrams => return,
            FamilyState::NotRedirected => (true, "not redirected: nothing listens for it"),
            FamilyState::Doubtful => return,
            FamilyState::Broken => {
                let effect = self.effect(switch);
                let words = format!("not captured; what is foreign {effect}");
                return self.effects.note(self.way, family, false, words);
            }
        };
        self.effects.note(self.way, family, is_good, words.into());
    }

    fn effect(&self, switch: Switch) -> &'static str {
        match switch {
            Switch::Reject | Switch::KeepThenReject => "is rejected meanwhile",
            _ if self.is_closed => "is rejected meanwhile, as firewall.on-failure says",
            _ => "flows directly meanwhile (firewall.on-failure = \"open\")",
        }
    }
}

pub(super) fn told_of(what: &str, broken: &ProofFailure, why: Option<String>) -> String {
    match why {
        Some(why) => format!("{what}: {broken}: {why}"),
        None => format!("{what}: {broken}"),
    }
}
