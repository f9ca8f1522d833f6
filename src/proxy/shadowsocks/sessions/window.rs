//! Which numbers of a session have come: a window over the last ones, as RFC 6479 keeps it. Pure.
//!
//! A number may come once. One that is older than the window counts as having come, since nothing
//! is known of it any more.

/// Words of the ring.
const WORDS: usize = 64;
const BITS: u64 = u64::BITS as u64;

/// Numbers that are so much older than the highest may still come. (One word less than the ring
/// has: the newest one fills up.)
pub(super) const WINDOW: u64 = (WORDS as u64 - 1) * BITS;

/// The numbers that came.
#[derive(Debug)]
pub(super) struct Window {
    /// The highest that came.
    highest: u64,
    ring: [u64; WORDS],
}

impl Window {
    /// A window that no number has come to.
    pub(super) fn new() -> Self {
        Window { highest: 0, ring: [0; WORDS] }
    }

    /// Notes a number; `false` if it came before, or is too old to tell. To be called for packets
    /// alone that are beyond doubt: any other would shut genuine ones out.
    pub(super) fn take(&mut self, number: u64) -> bool {
        let word = number / BITS;
        let newest = self.highest / BITS;
        if word > newest {
            for passed in 1..=(word - newest).min(WORDS as u64) {
                self.ring[slot(newest + passed)] = 0;
            }
        } else if newest - word >= WORDS as u64 || self.highest.saturating_sub(number) > WINDOW {
            return false;
        }
        self.highest = self.highest.max(number);
        let bit = 1 << (number % BITS);
        let is_new = self.ring[slot(word)] & bit == 0;
        self.ring[slot(word)] |= bit;
        is_new
    }
}

/// Where the word is.
fn slot(word: u64) -> usize {
    (word % WORDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn each_number_once() {
        let mut window = Window::new();
        for number in [0, 1, 63, 64, 5, 4000, u64::MAX - 1, u64::MAX] {
            assert!(window.take(number), "{number}");
            assert!(!window.take(number), "{number} again");
        }
        assert!(window.take(u64::MAX - WINDOW) && !window.take(u64::MAX - WINDOW - 1));
    }

    #[test]
    fn thousands_late() {
        let mut window = Window::new();
        assert!(window.take(10_000));
        for late in (10_000 - WINDOW)..10_000 {
            assert!(window.take(late), "{late}");
        }
        assert!(!window.take(10_000 - WINDOW - 1), "nothing is known of it");
        assert!(!window.take(0));
    }

    proptest! {
        /// Against a memory of everything.
        #[test]
        fn as_a_memory_without_bounds(
            steps in prop::collection::vec(
                prop_oneof![8 => -200i64..200, 2 => -5000i64..5000, 1 => 0i64..100_000],
                1..2000,
            ),
        ) {
            let (mut window, mut came, mut highest, mut at) =
                (Window::new(), HashSet::new(), 0u64, 5000u64);
            for step in steps {
                at = at.saturating_add_signed(step);
                let is_late = highest.saturating_sub(at) > WINDOW;
                let expected = !is_late && came.insert(at);
                prop_assert_eq!(window.take(at), expected, "{} after {}", at, highest);
                highest = highest.max(at);
            }
        }
    }
}
