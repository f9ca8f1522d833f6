//! How names were answered.

use super::Counter;

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOutcome {
    /// No server was asked: hosts, special names, lists, filters.
    Local,
    /// The cache.
    Cache,
    /// The cache, past its time.
    Stale,
    /// A domestic server.
    Domestic,
    /// A trusted server.
    Trusted,
    /// The name server that the program asked.
    AskedServer,
    /// No server answered.
    Failed,
}

impl NameOutcome {
    /// All of them, in the order of their counters.
    pub const ALL: [NameOutcome; 7] = [
        NameOutcome::Local,
        NameOutcome::Cache,
        NameOutcome::Stale,
        NameOutcome::Domestic,
        NameOutcome::Trusted,
        NameOutcome::AskedServer,
        NameOutcome::Failed,
    ];

    /// One word, for machines.
    pub fn word(self) -> &'static str {
        match self {
            NameOutcome::Local => "local",
            NameOutcome::Cache => "cache",
            NameOutcome::Stale => "stale",
            NameOutcome::Domestic => "domestic",
            NameOutcome::Trusted => "trusted",
            NameOutcome::AskedServer => "asked-server",
            NameOutcome::Failed => "failed",
        }
    }
}

/// The answers since the start, by where they came from.
#[derive(Debug, Default)]
pub struct NameStats([Counter; NameOutcome::ALL.len()]);

impl NameStats {
    /// One more.
    pub fn answered(&self, outcome: NameOutcome) {
        self.0[outcome as usize].add(1);
    }

    /// So many by now.
    pub fn get(&self, outcome: NameOutcome) -> u64 {
        self.0[outcome as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_own_counter() {
        let stats = NameStats::default();
        for (outcome, count) in NameOutcome::ALL.into_iter().zip(1..) {
            (0..count).for_each(|_| stats.answered(outcome));
        }
        let counts = NameOutcome::ALL.map(|outcome| stats.get(outcome));
        assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7]);
    }
}
