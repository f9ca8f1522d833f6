//! Which traffic the kernel sends directly, and how much of it there is. Pure.
//!
//! # Theory of operation
//!
//! None of it enters the process, and the chains that judge see the first packet of a connection
//! only. To look every packet up in the long lists once more would cost more than to forward it. So
//! the first packet leaves word: the rung that lets it pass puts a *label* on the entry of the
//! connection in conntrack, one bit for each [`DirectReason`]. Every later packet, whichever way it
//! goes, finds the label there, and a counter of that label and direction counts it. A packet
//! without one costs one look.
//!
//! Labels and not the mark of conntrack: other programs copy that one into the marks of packets,
//! whole, and would carry our bit into their routing rules.
//!
//! **Where.** INPUT and POSTROUTING, behind what others filter: a packet passes one of them, once.
//! "Up" is the direction in which the connection began.
//!
//! **What is not counted**: connections that began while the rules were not active (but those that
//! conntrack did not know until then), what exempt programs and hosts send, what snet sends itself,
//! and packets of offloaded flows, which no chain sees.

use super::sets::Set;
use crate::family::Family;

/// Why the kernel sends a connection directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectReason {
    /// The China list has its destination.
    Domestic,
    /// `rules.direct` has it.
    Rule,
    /// A name that goes direct led there.
    Name,
    /// It never leaves the local networks, and is not on a link of this machine.
    Private,
    /// It is foreign, and goes directly all the same: UDP that no proxy carries, IPv6 that is not
    /// proxied, ping.
    Foreign,
}

/// On every connection that has one of the others: most packets are seen to have none by one look.
pub(super) const COUNTED: u8 = 96;

impl DirectReason {
    /// The most frequent one first: each is asked for in turn.
    pub const ALL: [DirectReason; 5] = [
        DirectReason::Domestic,
        DirectReason::Foreign,
        DirectReason::Rule,
        DirectReason::Name,
        DirectReason::Private,
    ];

    /// Why what a set holds goes directly, if it does.
    pub(super) fn of(set: Set) -> Option<Self> {
        match set {
            Set::China => Some(DirectReason::Domestic),
            Set::Direct => Some(DirectReason::Rule),
            Set::LearnedDirect => Some(DirectReason::Name),
            Set::Reserved => Some(DirectReason::Private),
            _ => None,
        }
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            DirectReason::Domestic => "domestic",
            DirectReason::Rule => "rule",
            DirectReason::Name => "name",
            DirectReason::Private => "private",
            DirectReason::Foreign => "foreign",
        }
    }

    /// The label, of 128 that a connection may have. Those of other programs are small numbers.
    pub(super) fn label(self) -> u8 {
        COUNTED + 1 + self as u8
    }
}

/// Bytes of one kind, with their headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectBytes {
    /// The way in which the connections began.
    pub up: u64,
    /// The other one.
    pub down: u64,
}

/// What the kernel sent directly, by reason and family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectCounts([[DirectBytes; 2]; DirectReason::ALL.len()]);

impl DirectCounts {
    /// Every kind there is, with its bytes.
    pub fn all(&self) -> impl Iterator<Item = (DirectReason, Family, DirectBytes)> {
        DirectReason::ALL.into_iter().flat_map(move |reason| {
            Family::ALL.map(|family| (reason, family, self.of(reason, family)))
        })
    }

    /// Of one kind.
    pub fn of(&self, reason: DirectReason, family: Family) -> DirectBytes {
        self.0[reason as usize][family as usize]
    }

    /// The same, to be changed.
    pub fn at(&mut self, reason: DirectReason, family: Family) -> &mut DirectBytes {
        &mut self.0[reason as usize][family as usize]
    }
}

/// Sums that never go back, whatever becomes of the counters: a repair, a reload or another program
/// may begin them anew.
#[derive(Clone, Debug, Default)]
pub struct DirectSums {
    sums: DirectCounts,
    last: DirectCounts,
}

impl DirectSums {
    /// The counters say this now.
    pub fn take(&mut self, now: &DirectCounts) -> &DirectCounts {
        // One that is smaller than before has begun anew.
        let since = |now: u64, last: u64| now.checked_sub(last).unwrap_or(now);
        for (reason, family, new) in now.all() {
            let last = self.last.of(reason, family);
            let sum = self.sums.at(reason, family);
            sum.up += since(new.up, last.up);
            sum.down += since(new.down, last.down);
        }
        self.last.clone_from(now);
        &self.sums
    }

    /// Nothing is counted now; what is, later, begins anew.
    pub fn begin_anew(&mut self) {
        self.last = DirectCounts::default();
    }

    /// The sums as they were taken last.
    pub fn sums(&self) -> &DirectCounts {
        &self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_never_go_back() {
        let (reason, family) = (DirectReason::Domestic, Family::V6);
        let counts = |up, down| {
            let mut counts = DirectCounts::default();
            *counts.at(reason, family) = DirectBytes { up, down };
            counts
        };
        let mut sums = DirectSums::default();
        for ((up, down), sum) in [
            ((10, 100), (10, 100)),
            ((10, 150), (10, 150)),
            // Somebody began one of them, or both, anew.
            ((3, 160), (13, 160)),
            ((0, 0), (13, 160)),
            ((5, 1), (18, 161)),
        ] {
            let DirectBytes { up, down } = sums.take(&counts(up, down)).of(reason, family);
            assert_eq!((up, down), sum);
        }
        assert_eq!(sums.sums().of(reason, Family::V4), DirectBytes::default());
        // By itself one that has begun anew and is large already cannot be told.
        sums.begin_anew();
        let DirectBytes { up, down } = sums.take(&counts(50, 500)).of(reason, family);
        assert_eq!((up, down), (68, 661));
    }

    #[test]
    fn each_reason_has_a_label_of_its_own() {
        let mut labels = DirectReason::ALL.map(DirectReason::label).to_vec();
        labels.push(COUNTED);
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DirectReason::ALL.len() + 1);
        assert!(labels.iter().all(|label| (96..128).contains(label)), "the last of four words");
    }
}
