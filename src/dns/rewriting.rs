//! Finds providers that answer "no such name" with the address of an advertisement.
//!
//! At the start the domestic servers are asked for names that cannot exist; whatever addresses
//! come back mark a forged answer from then on. Each server gets names of its own: if one comes
//! back as a query, that server asks us (see [`loops`](super::loops)).

use super::memory::Memory;
use super::reply::Reply;
use super::upstream::Upstreams;
use super::wire::{Query, rr};
use crate::domain::Name;
use crate::ipset::IpSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::warn;

const NAMES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks, and adds what it finds to the bogus set.
pub(super) async fn detect(upstreams: Rc<Upstreams>, memory: Rc<Memory>) {
    let mut asked = JoinSet::new();
    for server in &upstreams.domestic {
        for name in std::iter::repeat_with(random_name).take(NAMES).flatten() {
            for qtype in [rr::A, rr::AAAA] {
                let (upstreams, query) = (Rc::clone(&upstreams), Query::new(&name, qtype));
                let server = server.clone();
                asked.spawn_local(async move {
                    let message = upstreams.ask_server(&server, &query, PATIENCE).await.ok()?;
                    Some(Reply::parse(&message)?.addresses())
                });
            }
            upstreams.loops.note_probe(name, server.address());
        }
    }
    let mut found: Vec<IpAddr> = asked.join_all().await.into_iter().flatten().flatten().collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return;
    }
    warn!(
        "the domestic name servers answer for names that do not exist; such answers are forged: \
         {found:?}"
    );
    let rewritten: IpSet = found.into_iter().collect();
    let bogus = memory.bogus.borrow().union(&rewritten);
    *memory.bogus.borrow_mut() = bogus;
}

/// Twenty random letters under `com`.
pub(super) fn random_name() -> Option<Name> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).ok()?;
    let letters: String = bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    format!("{letters}.com").parse().ok()
}
