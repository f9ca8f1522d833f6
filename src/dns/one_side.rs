//! Asks one side: about names that a list or a verdict gives to it, and local names. No judgement.

use super::memory::Memory;
use super::policy::QueryPolicy;
use super::reply::{
    Believed, DomesticVerdict, Ede, Reply, Side, TrustedVerdict, classify, classify_trusted,
};
use super::resolution::{Resolution, TRUSTED_SILENT};
use super::upstream::Upstreams;
use super::upstream::domestic::DomesticServer;
use super::wire::{Query, rr};
use crate::ipset::IpSet;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout, timeout_at};

/// An answer of the trusted side about a domestic name is held back for so long a part of the time,
/// while the domestic side may still have the nearer address.
const HELD_BACK: f32 = 0.75;

/// What the domestic side says of a name for which the operator vouches: foreign and private
/// addresses are fine.
enum NearAnswer {
    Good(Resolution),
    /// An address of the asking machine itself. It is either meant so (`localhost.example.com`,
    /// where a site has started a program) or what a provider forges: it counts unless the trusted
    /// side knows other addresses.
    Own(Resolution),
    /// It is silent, or lied to.
    None,
}

/// The domestic servers know best, unless they are silent or lied to. While they are slow the
/// trusted side is asked beside them.
pub(super) async fn domestic_first(
    policy: &QueryPolicy,
    memory: &Memory,
    upstreams: &Rc<Upstreams>,
    query: &Query,
    patience: Duration,
) -> Resolution {
    let began = Instant::now();
    let left = || patience.saturating_sub(began.elapsed());
    let mut near = pin!(async { ask_domestic(policy, memory, upstreams, query, left()).await });
    let mut far = pin!(async { upstreams.ask_trusted(query, left()).await });
    let head_start = upstreams.domestic_head_start(query, patience);
    if head_start.is_zero() && !upstreams.is_domestic_trial_due(query) {
        // No domestic server answers such questions.
        match timeout(patience / 2, &mut far).await {
            Ok(Some(message)) => return conclude(policy, NearAnswer::None, Some(message)),
            Ok(None) => return conclude(policy, near.await, None),
            Err(_) => {}
        }
    }
    tokio::select! {
        biased;
        near = &mut near => return match near {
            NearAnswer::Good(answer) => answer,
            other => conclude(policy, other, far.await),
        },
        () = sleep(head_start) => {}
    }
    // HTTPS records are what servers drop most, and a program is no worse off without the near
    // ones.
    let is_worth_waiting = !head_start.is_zero() && !matches!(query.qtype(), rr::HTTPS | rr::SVCB);
    let held_back = if is_worth_waiting { patience.mul_f32(HELD_BACK) } else { Duration::ZERO };
    tokio::select! {
        biased;
        near = &mut near => match near {
            NearAnswer::Good(answer) => answer,
            other => conclude(policy, other, far.await),
        },
        far = &mut far => {
            let until = if far.is_some() { held_back } else { patience };
            let near = timeout_at((began + until).into(), near).await;
            conclude(policy, near.unwrap_or(NearAnswer::None), far)
        }
    }
}

async fn ask_domestic(
    policy: &QueryPolicy,
    memory: &Memory,
    upstreams: &Rc<Upstreams>,
    query: &Query,
    patience: Duration,
) -> NearAnswer {
    let message = upstreams.ask_one_of(&upstreams.domestic, query, patience).await;
    let Some(reply) = message.as_deref().and_then(Reply::parse) else { return NearAnswer::None };
    let counts = |believed| {
        let verdict = classify(&reply, &IpSet::default(), memory.bogus.borrow().all(), believed);
        !matches!(verdict, DomesticVerdict::Bogus | DomesticVerdict::Err)
    };
    let answer = || Resolution::fresh(policy.stored(&reply, Side::Domestic));
    match (counts(Believed::Private), counts(Believed::PrivateAndOwn)) {
        (true, _) => NearAnswer::Good(answer()),
        (false, true) => NearAnswer::Own(answer()),
        (false, false) => NearAnswer::None,
    }
}

fn conclude(policy: &QueryPolicy, near: NearAnswer, far: Option<Vec<u8>>) -> Resolution {
    let far = far.as_deref().and_then(Reply::parse);
    match (near, far) {
        (NearAnswer::Good(answer), _) => answer,
        (NearAnswer::Own(own), Some(far))
            if classify_trusted(&far) != TrustedVerdict::Addresses =>
        {
            own
        }
        (NearAnswer::Own(own), None) => own,
        (_, Some(far)) => Resolution::fresh(policy.stored(&far, Side::Trusted)),
        (NearAnswer::None, None) => Resolution::Stale(TRUSTED_SILENT),
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
