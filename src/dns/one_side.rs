//! Asks one side: about names that a list or a verdict gives to it, and local names. No judgement.

use super::memory::Memory;
use super::policy::QueryPolicy;
use super::reply::{
    Believed, DomesticVerdict, Ede, Reply, Side, TrustedVerdict, classify, classify_trusted,
};
use super::resolution::{Resolution, TRUSTED_SILENT};
use super::split::DOMESTIC_SILENCE;
use super::upstream::Upstreams;
use super::upstream::domestic::DomesticServer;
use super::wire::Query;
use crate::ipset::IpSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The part of the time that the domestic side has before the trusted one is asked.
const DOMESTIC_PART: f32 = 0.6;

/// The domestic servers know best, unless they are silent or lied to.
///
/// The operator vouches for the name, so foreign and private addresses are fine. One of the asking
/// machine itself is either meant so (`localhost.example.com`, where a site has started a program)
/// or what a provider forges: it counts unless the trusted side knows other addresses.
pub(super) async fn domestic_first(
    policy: &QueryPolicy,
    memory: &Memory,
    upstreams: &Rc<Upstreams>,
    query: &Query,
    patience: Duration,
) -> Resolution {
    let began = Instant::now();
    let part = patience.mul_f32(DOMESTIC_PART).min(DOMESTIC_SILENCE);
    let message = upstreams.ask_one_of(&upstreams.domestic, query, part).await;
    let reply = message.as_deref().and_then(Reply::parse);
    let judged = |believed| {
        let reply = reply.as_ref()?;
        let verdict = classify(reply, &IpSet::default(), &memory.bogus.borrow(), believed);
        let counts = !matches!(verdict, DomesticVerdict::Bogus | DomesticVerdict::Err);
        counts.then(|| Resolution::fresh(policy.stored(reply, Side::Domestic)))
    };
    if let Some(resolution) = judged(Believed::Private) {
        return resolution;
    }
    let left = patience.saturating_sub(began.elapsed());
    let Some(own) = judged(Believed::PrivateAndOwn) else {
        return trusted_only(policy, upstreams, query, left).await;
    };
    let message = upstreams.ask_trusted(query, left).await;
    match message.as_deref().and_then(Reply::parse) {
        Some(other) if classify_trusted(&other) == TrustedVerdict::Addresses => {
            Resolution::fresh(policy.stored(&other, Side::Trusted))
        }
        _ => own,
    }
}

pub(super) async fn trusted_only(
    policy: &QueryPolicy,
    upstreams: &Upstreams,
    query: &Query,
    patience: Duration,
) -> Resolution {
    let message = upstreams.ask_trusted(query, patience).await;
    match message.as_deref().and_then(Reply::parse) {
        Some(reply) => Resolution::fresh(policy.stored(&reply, Side::Trusted)),
        None => Resolution::Stale(TRUSTED_SILENT),
    }
}

/// Local names and forwards: the servers of the name, and no others.
pub(super) async fn these_only(
    policy: &QueryPolicy,
    upstreams: &Rc<Upstreams>,
    servers: &[SocketAddr],
    query: &Query,
) -> Resolution {
    const SILENT: Ede = Ede::unreachable("the name server for this local name does not answer");
    if servers.is_empty() {
        return Resolution::NxDomain;
    }
    let servers: Vec<_> = servers.iter().copied().map(DomesticServer::Udp).collect();
    let message = upstreams.ask_one_of(&servers, query, policy.settings.servers.timeout).await;
    match message.as_deref().and_then(Reply::parse) {
        Some(reply) => Resolution::fresh(policy.stored(&reply, Side::Trusted)),
        None => Resolution::Stale(SILENT),
    }
}
