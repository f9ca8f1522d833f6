//! Servers that do not get along with EDNS (RFC 6891): some say FORMERR or NOTIMP to it, as 7 of
//! the RFC allows to those who do not know it, and some, or a firewall before them, say nothing.
//! They are asked again without, and that is remembered for a while.
//!
//! Silence alone says little, since datagrams get lost: a server counts as silent only if it was
//! heard without EDNS, several times in a row, and never with it.

use crate::dns::reply::Reply;
use crate::dns::wire::{HEADER, Query, flag, rcode, u16_at};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// How long a server is asked without EDNS before it is tried with it again.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// So many answers in a row without EDNS, and none with it.
const SILENCES: u8 = 2;

/// Servers that are remembered: those of the file, and those that programs ask by themselves.
const MOST: usize = 256;

/// What is known of each server.
#[derive(Debug, Default)]
pub(super) struct EdnsMemory(RefCell<HashMap<SocketAddr, EdnsState>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EdnsState {
    /// It has answered a query with EDNS.
    Known,
    /// It has answered so many queries without, and none with it.
    Silent(u8),
    /// It is asked without until then.
    Without(Instant),
}

impl EdnsMemory {
    /// Whether it is to be asked without.
    fn is_without(&self, server: SocketAddr) -> bool {
        let state = self.0.borrow().get(&server).copied();
        matches!(state, Some(EdnsState::Without(until)) if until > Instant::now())
    }

    /// Whether silence may be that of a server that drops EDNS.
    pub(super) fn may_be_silent(&self, server: SocketAddr) -> bool {
        !self.is_without(server) && self.0.borrow().get(&server) != Some(&EdnsState::Known)
    }

    /// It was silent with EDNS and has answered without.
    pub(super) fn answered_only_without(&self, server: SocketAddr) {
        let before = match self.0.borrow().get(&server) {
            Some(EdnsState::Silent(before)) => *before,
            _ => 0,
        };
        match before + 1 {
            SILENCES => self.leave_out(server, "says nothing to it"),
            times => self.set(server, EdnsState::Silent(times)),
        }
    }

    /// It has not answered at all: another one may stand there now.
    pub(super) fn was_silent(&self, server: SocketAddr) {
        let mut states = self.0.borrow_mut();
        if states.get(&server) == Some(&EdnsState::Known) {
            states.remove(&server);
        }
    }

    fn leave_out(&self, server: SocketAddr, why: &str) {
        let minutes = REMEMBERED.as_secs() / 60;
        info!("the name server {server} is asked without EDNS for {minutes} minutes: it {why}");
        self.set(server, EdnsState::Without(Instant::now() + REMEMBERED));
    }

    fn set(&self, server: SocketAddr, state: EdnsState) {
        let mut states = self.0.borrow_mut();
        if states.len() >= MOST && !states.contains_key(&server) {
            states.clear();
        }
        states.insert(server, state);
    }

    /// Asks with EDNS, unless it is known to be of no use, and again without where the server
    /// refuses it.
    ///
    /// # Errors
    /// What `ask` says.
    pub(super) async fn ask(
        &self,
        server: SocketAddr,
        query: &Query,
        ask: impl AsyncFn(Query) -> io::Result<Vec<u8>>,
    ) -> io::Result<Vec<u8>> {
        if self.is_without(server) {
            return ask(query.without_edns()).await;
        }
        let reply = ask(query.clone()).await?;
        if !is_refused(&reply) {
            return Ok(reply);
        }
        let again = ask(query.without_edns()).await?;
        if !is_refused(&again) {
            self.leave_out(server, "does not know it");
        }
        Ok(again)
    }

    /// It has answered a query with EDNS, and did not refuse that.
    pub(super) fn answered(&self, server: SocketAddr, reply: &[u8]) {
        if !is_refused(reply) && !self.is_without(server) {
            self.set(server, EdnsState::Known);
        }
    }
}

/// Whether the server may have stumbled over EDNS.
fn is_refused(reply: &[u8]) -> bool {
    let code = Reply::parse(reply).map(|reply| reply.rcode());
    matches!(code, Some(rcode::FORMERR | rcode::NOTIMP | rcode::BADVERS))
}

/// What a server that does not repeat the question (name, type and class) has said to it: its code,
/// in a message with the question. One that says so that all is well has not understood. `None`:
/// the message has a question, or is no reply with this number.
pub(super) fn completed(message: &[u8], question: &[u8], id: u16) -> Option<Vec<u8>> {
    let (found, flags) = (u16_at(message, 0)?, u16_at(message, 2)?);
    let is_reply = flags & (flag::QR | flag::OPCODE) == flag::QR;
    if found != id || !is_reply || u16_at(message, 4)? != 0 || message.len() < HEADER {
        return None;
    }
    let code = match flags & flag::RCODE {
        rcode::NOERROR => rcode::FORMERR,
        code => code,
    };
    let mut whole = Vec::with_capacity(HEADER + question.len());
    whole.extend(id.to_be_bytes());
    whole.extend((flags & !(flag::RCODE | flag::TC) | code).to_be_bytes());
    whole.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    whole.extend(question);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::rr;

    fn query() -> Query {
        Query::new(&"site.example".parse().unwrap(), rr::A)
    }

    #[test]
    fn a_reply_without_a_question_is_completed() {
        let bare = |flags: u16| [&[0, 7][..], &flags.to_be_bytes(), &[0; 8]].concat();
        let code = |message: &[u8]| {
            let whole = completed(message, query().question(), 7)?;
            let reply = Reply::parse(&whole).unwrap();
            assert!(reply.matches(&query(), 7) && !reply.truncated());
            Some(reply.rcode())
        };
        assert_eq!(code(&bare(0x8005)), Some(rcode::REFUSED));
        assert_eq!(code(&bare(0x8380)), Some(rcode::FORMERR), "nothing that makes sense");
        assert_eq!(code(&bare(0x0005)), None, "a query");
        assert_eq!(code(&bare(0xa005)), None, "of another kind");
        assert_eq!(code(&[0, 8, 0x80, 5, 0, 0, 0, 0, 0, 0, 0, 0]), None, "of another number");
        assert_eq!(code(&bare(0x8005)[..11]), None, "cut");
        assert_eq!(
            completed(
                &completed(&bare(0x8005), query().question(), 7).unwrap(),
                query().question(),
                7
            ),
            None
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_learned_and_forgotten() {
        let (memory, server) = (EdnsMemory::default(), "192.0.2.1:53".parse().unwrap());
        assert!(memory.may_be_silent(server));
        memory.answered_only_without(server);
        assert!(!memory.is_without(server), "a datagram may have been lost");
        memory.answered_only_without(server);
        assert!(memory.is_without(server) && !memory.may_be_silent(server));
        tokio::time::advance(REMEMBERED).await;
        assert!(!memory.is_without(server) && memory.may_be_silent(server));

        let good =
            completed(&[0, 7, 0x80, 2, 0, 0, 0, 0, 0, 0, 0, 0], query().question(), 7).unwrap();
        memory.answered(server, &good);
        assert!(!memory.may_be_silent(server), "it has answered a query with EDNS");
        memory.was_silent(server);
        assert!(memory.may_be_silent(server));
    }
}
