//! What is remembered of the targets that a proxy does not allow.
//!
//! One that refuses a target works: another target may be allowed, and the proxy does not rest. One
//! that refuses whatever it is asked for is of no use, and looks healthy: so that is said.

use crate::sync::lock;
use crate::target::Target;
use std::sync::Mutex;

/// So many in a row, and the proxy counts as one that allows nothing.
pub(super) const MOST_REFUSALS: u32 = 5;

/// The refusals of one proxy since it last connected.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<RefusalState>);

#[derive(Debug, Default)]
struct RefusalState {
    count: u32,
    first: Option<Target>,
    /// More than one target was refused.
    several: bool,
    said: bool,
}

impl Refusals {
    /// One more. True when it is time to say so: once, until the proxy connects again. (One target
    /// that a program wants again and again says nothing.)
    pub(super) fn add(&self, target: &Target) -> bool {
        let mut state = lock(&self.0);
        state.count = state.count.saturating_add(1);
        match &state.first {
            Some(first) => state.several |= first != target,
            None => state.first = Some(target.clone()),
        }
        let is_time = state.several && state.count >= MOST_REFUSALS;
        is_time && !std::mem::replace(&mut state.said, true)
    }

    /// The proxy has connected.
    pub(super) fn ended(&self) {
        let mut state = lock(&self.0);
        // Most connections meet no refusal before them.
        if state.count > 0 {
            *state = RefusalState::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> Target {
        Target::addr(([203, 0, 113, 1], port).into())
    }

    #[test]
    fn a_proxy_that_allows_nothing_is_told_once() {
        let refusals = Refusals::default();
        for _ in 0..2 {
            assert!((1..MOST_REFUSALS).all(|_| !refusals.add(&target(53))));
            assert!(!refusals.add(&target(53)), "one target says nothing");
            assert!(refusals.add(&target(80)));
            assert!(!refusals.add(&target(81)), "it was said");
            refusals.ended();
        }
        assert!((1..MOST_REFUSALS as u16).all(|port| !refusals.add(&target(port))));
        refusals.ended();
        assert!(!refusals.add(&target(1)), "it connects");
    }
}
