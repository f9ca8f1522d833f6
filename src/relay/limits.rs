//! What all relays of a process share, and how much of it there is. Handed in by the daemon, which
//! sets the descriptors and the memory aside (`daemon::limits`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The shares of all relays.
#[derive(Debug)]
pub struct Limits {
    /// Pipes; a pipe has two descriptors.
    pub(super) pipes: Arc<Count>,
    /// Large pieces of memory in use.
    pub(super) large_pieces: Count,
}

impl Limits {
    /// So many pipes, and so many large pieces of memory.
    pub fn new(pipes: usize, large_pieces: usize) -> Self {
        Limits { pipes: Arc::new(Count::new(pipes)), large_pieces: Count::new(large_pieces) }
    }
}

/// For tests and tools, which set nothing aside.
impl Default for Limits {
    fn default() -> Self {
        Limits::new(112, 32)
    }
}

/// How many are in use, and how many may be.
#[derive(Debug)]
pub(super) struct Count {
    used: AtomicUsize,
    most: usize,
}

impl Count {
    fn new(most: usize) -> Self {
        Count { used: AtomicUsize::new(0), most }
    }

    /// Takes one, if there is one; whether there was.
    pub(super) fn take(&self) -> bool {
        let one_more = |used| (used < self.most).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Gives one back.
    pub(super) fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}
