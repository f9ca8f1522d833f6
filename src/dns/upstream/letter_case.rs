//! Servers that do not repeat the letters of a name as they were asked (`dns.case-randomization`):
//! every honest answer of such a one looks like a forger's guess.
//!
//! An answer that is right but for the case is not believed; the same question over TCP, where
//! nobody guesses, brings the true one. A server that answers so several times in a row, and never
//! right, is asked in lower case for a while. An attacker who wants that has to guess port and
//! number several times, which is what protects those who ask without random case at all.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// How long a server is asked in lower case before it is tried again.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// So many answers in another case in a row.
const OTHERS: u8 = 3;

/// Servers that are remembered.
const MOST: usize = 256;

/// What is known of each server. Nothing: it was never seen to answer in another case.
#[derive(Debug, Default)]
pub(super) struct CaseMemory(RefCell<HashMap<SocketAddr, CaseState>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CaseState {
    /// It has answered so many questions in another case.
    Other(u8),
    /// It is asked in lower case until then.
    Lower(Instant),
}

impl CaseMemory {
    /// Whether random case is of no use with this server.
    pub(super) fn is_lost_on(&self, server: SocketAddr) -> bool {
        let state = self.0.borrow().get(&server).copied();
        matches!(state, Some(CaseState::Lower(until)) if until > Instant::now())
    }

    /// It has repeated the name as it was asked.
    pub(super) fn was_repeated(&self, server: SocketAddr) {
        self.0.borrow_mut().remove(&server);
    }

    /// It has answered in another case.
    pub(super) fn was_other(&self, server: SocketAddr) {
        let before = match self.0.borrow().get(&server) {
            Some(CaseState::Other(before)) => *before,
            _ => 0,
        };
        let state = if before + 1 < OTHERS {
            CaseState::Other(before + 1)
        } else {
            let minutes = REMEMBERED.as_secs() / 60;
            info!(
                "the name server {server} does not repeat the case of names, and is asked in \
                 lower case for {minutes} minutes (dns.case-randomization)"
            );
            CaseState::Lower(Instant::now() + REMEMBERED)
        };
        let mut states = self.0.borrow_mut();
        if states.len() >= MOST && !states.contains_key(&server) {
            states.clear();
        }
        states.insert(server, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_is_learned_and_forgotten() {
        let (memory, server) = (CaseMemory::default(), "192.0.2.1:53".parse().unwrap());
        for _ in 1..OTHERS {
            memory.was_other(server);
        }
        memory.was_repeated(server);
        for _ in 1..OTHERS {
            memory.was_other(server);
        }
        assert!(!memory.is_lost_on(server), "it has repeated the case in between");
        memory.was_other(server);
        assert!(memory.is_lost_on(server));
        tokio::time::advance(REMEMBERED).await;
        assert!(!memory.is_lost_on(server));
    }
}
