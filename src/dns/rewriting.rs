//! Finds providers that answer "no such name" with the address of a page of theirs.
//!
//! At the start, and in another network, the domestic servers are asked for names that cannot
//! exist; whatever addresses come back mark a forged answer from then on. Some providers rewrite
//! only names that people type, so the names are of several kinds. Each server gets names of its
//! own: if one comes back as a query, that server asks us (see [`loops`](super::loops)). Who
//! rewrites none of these is noticed by [`suspicion`](super::suspicion).

use super::memory::Memory;
use super::reply::{Reply, TrustedVerdict};
use super::suspicion::Suspicion;
use super::upstream::Upstreams;
use super::wire::{Query, rr};
use crate::domain::Name;
use crate::ipset::IpSet;
use crate::task::JoinSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Before and behind the random label.
const KINDS: [(&str, &str); 4] = [("", "com"), ("www.", "com"), ("", "cn"), ("www.", "net")];

/// Nobody waits for it: a server has at least so long, and `dns.timeout`.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks, and adds what it finds to the bogus set.
pub(super) async fn detect(upstreams: Rc<Upstreams>, memory: Rc<Memory>) {
    memory.looked_for_bogus.set(true);
    let patience = PATIENCE.max(upstreams.timeout);
    let mut asked = JoinSet::new();
    for server in &upstreams.domestic {
        for name in KINDS.iter().filter_map(|(host, top)| random_name(host, top)) {
            for qtype in [rr::A, rr::AAAA] {
                let (upstreams, query) = (Rc::clone(&upstreams), Query::new(&name, qtype));
                let server = server.clone();
                asked.spawn_local(async move {
                    let message = upstreams.ask_server(&server, &query, patience).await.ok()?;
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
    memory.trust().forges(&found);
    memory.bogus.borrow_mut().add(&found.into_iter().collect());
}

/// A domestic server gave a domestic address for a name.
pub(super) fn note_domestic(memory: &Memory, query: &Query, reply: &Reply<'_>) {
    let acquitted = memory.bogus.borrow_mut().acquit(Instant::now());
    if let Some(address) = acquitted {
        memory.trust().acquit(Some(address));
        memory.suspicions.borrow_mut().forget(address);
    }
    let finding = memory.suspicions.borrow_mut().domestic(query, reply);
    conclude(memory, finding);
}

/// The trusted side replied for a name that was asked of both.
pub(super) fn note_trusted(
    memory: &Memory,
    query: &Query,
    reply: &Reply<'_>,
    verdict: TrustedVerdict,
    china: &IpSet,
) {
    let finding = memory.suspicions.borrow_mut().trusted(query, reply, verdict, china);
    conclude(memory, finding);
}

fn conclude(memory: &Memory, finding: Option<Suspicion>) {
    match finding {
        Some(Suspicion::Rewriting(address)) => {
            warn!(
                "the domestic name servers give {address} for several names that do not exist; \
                 such answers count as forged for an hour (dns.bogus without \"detected\" believes \
                 them)"
            );
            memory.trust().forges(&[address]);
            memory.bogus.borrow_mut().convict(address, Instant::now());
        }
        Some(Suspicion::WarningPage(address)) => info!(
            "the domestic name servers give {address} for several names that live elsewhere; if \
             it is a warning page of your provider, add it to dns.bogus"
        ),
        None => {}
    }
}

/// Twenty random letters, with `host` before them, under `top`.
pub(super) fn random_name(host: &str, top: &str) -> Option<Name> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).ok()?;
    let letters: String = bytes.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    format!("{host}{letters}.{top}").parse().ok()
}
