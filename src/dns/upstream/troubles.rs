//! What keeps a name server from answering, said once, with its cause; and that it works again.
//!
//! What will not mend itself (a certificate, a wrong path) is said at once, what may pass after
//! several failures in a row. The same cause is not said again within an hour.

use super::trouble::Trouble;
use crate::dns::name_server::NameServer;
use crate::warnings::StandingWarning;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info};

/// A cause is said again after this.
const QUIET: Duration = Duration::from_secs(3600);

/// Servers that are remembered: those of the file, and those of the system.
const MOST: usize = 256;

/// The troubles of all servers.
#[derive(Debug, Default)]
pub(in crate::dns) struct ServerTroubles(RefCell<HashMap<SocketAddr, TroubleState>>);

#[derive(Debug, Default)]
struct TroubleState {
    in_a_row: u32,
    /// Kinds that were said, and when: each kind is a word of this program.
    said: Vec<(&'static str, Instant)>,
    /// As whom it was spoken of, if it has not answered since.
    open: Option<(String, StandingWarning)>,
}

impl ServerTroubles {
    /// It has failed for this reason.
    pub(super) fn met(&self, server: &NameServer, trouble: &Trouble) {
        let mut states = self.0.borrow_mut();
        if states.len() >= MOST && !states.contains_key(&server.address) {
            states.clear();
        }
        let (state, text) = (states.entry(server.address).or_default(), &trouble.text);
        if state.is_news(trouble, Instant::now()) {
            let told = StandingWarning::raise(format!("the name server {server} {text}"));
            state.open = Some((server.to_string(), told));
        } else {
            debug!("the name server {server} {text}");
        }
    }

    /// It has answered.
    pub(super) fn over(&self, server: SocketAddr) {
        let over = self.0.borrow_mut().get_mut(&server).and_then(TroubleState::over);
        if let Some(server) = over {
            info!("the name server {server} works again");
        }
    }
}

impl TroubleState {
    /// Counts it, and tells whether it has to be said.
    fn is_news(&mut self, trouble: &Trouble, now: Instant) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row < trouble.patience {
            return false;
        }
        self.said.retain(|(_, at)| *at + QUIET > now);
        if self.said.iter().any(|(kind, _)| *kind == trouble.kind) {
            return false;
        }
        self.said.push((trouble.kind, now));
        true
    }

    fn over(&mut self) -> Option<String> {
        self.in_a_row = 0;
        self.open.take().map(|(server, _)| server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(kind: &'static str, patience: u32) -> Trouble {
        Trouble { kind, text: String::new(), patience }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cause_is_said_once_and_its_end_too() {
        let (mut state, now) = (TroubleState::default(), Instant::now());
        let (certificate, status) = (trouble("certificate", 1), trouble("status", 1));
        assert!(state.is_news(&certificate, now), "at once");
        assert!(!state.is_news(&certificate, now));
        assert!(state.is_news(&status, now), "another cause");
        assert!(!state.is_news(&certificate, now + QUIET / 2), "it comes and goes");
        assert!(state.is_news(&certificate, now + QUIET));
        state.open = Some(("it".into(), StandingWarning::raise("it does not work")));
        assert_eq!([state.over(), state.over()], [Some("it".into()), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_has_to_last() {
        let (mut state, now) = (TroubleState::default(), Instant::now());
        let status = trouble("status", 3);
        for _ in 0..4 {
            assert!(!state.is_news(&status, now) && !state.is_news(&status, now));
            assert_eq!(state.over(), None);
        }
        let said = [(); 4].map(|()| state.is_news(&status, now));
        assert_eq!(said, [false, false, true, false]);
    }
}
