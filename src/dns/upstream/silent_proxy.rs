//! When the silence of a name server may be that of the proxy: a wrong password looks like it. A
//! name that is dead makes its name server silent too, so that one or two of them say nothing.

use super::request::UpstreamRequest;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::time::Instant;

/// So many names have to be left without an answer.
const NAMES: usize = 3;

/// A proxy that has carried an answer has the right password for so long.
const BELIEVED: Duration = Duration::from_secs(600);

/// What was asked of a name server since it was heard.
#[derive(Debug, Default)]
pub(super) struct ProxyEvidence {
    names: HashSet<u64>,
    hashing: RandomState,
    last_heard: Option<Instant>,
}

impl ProxyEvidence {
    pub(super) fn asked(&mut self, request: &UpstreamRequest) {
        if self.names.len() < NAMES {
            self.names.insert(self.hashing.hash_one(request.query().name()));
        }
    }

    pub(super) fn heard(&mut self) {
        self.last_heard = Some(Instant::now());
        self.names.clear();
    }

    /// Whether silence is worth a suspicion.
    pub(super) fn is_enough(&self) -> bool {
        let is_believed = self.last_heard.is_some_and(|heard| heard.elapsed() < BELIEVED);
        !is_believed && self.names.len() >= NAMES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::{Query, rr};

    #[tokio::test(start_paused = true)]
    async fn two_dead_names_say_nothing_of_the_proxy() {
        let mut evidence = ProxyEvidence::default();
        let ask = |evidence: &mut ProxyEvidence, name: &str| {
            for qtype in [rr::A, rr::AAAA] {
                let query = Query::new(&name.parse().unwrap(), qtype);
                evidence.asked(&UpstreamRequest::new(query).0);
            }
        };
        for _ in 0..3 {
            ask(&mut evidence, "dead.example");
            ask(&mut evidence, "lame.example");
        }
        assert!(!evidence.is_enough());
        ask(&mut evidence, "third.example");
        assert!(evidence.is_enough());
        evidence.heard();
        for name in ["dead.example", "lame.example", "third.example"] {
            ask(&mut evidence, name);
        }
        assert!(!evidence.is_enough(), "it has carried an answer a moment ago");
        tokio::time::advance(BELIEVED).await;
        assert!(evidence.is_enough());
    }
}
