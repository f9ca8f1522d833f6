//! One question to the name server that the program asked, see
//! [`split_horizon`](super::split_horizon).

use super::horizon::Horizon;
use super::memory::Memory;
use super::policy::QueryPolicy;
use super::reply::Ede;
use super::resolution::Resolution;
use super::upstream::Upstreams;
use super::upstream::domestic::DomesticServer;
use super::wire::Query;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The asked server is near, and has this part of the time: enough to ask once more, if the
/// question got lost.
const PART: f32 = 0.375;

/// For programs that look at it; the others hear what the public sides say.
pub(super) const UNKNOWN: Ede = Ede::unreachable("the asked name server does not know the name");

/// How long the asked server is waited for.
pub(super) fn patience(policy: &QueryPolicy) -> Duration {
    policy.settings.servers.timeout.mul_f32(PART)
}

/// Asks it. What counts of its answer is kept for those who ask the same server.
pub(super) async fn ask(
    policy: &QueryPolicy,
    memory: &Memory,
    upstreams: &Upstreams,
    horizon: &Horizon,
    query: &Query,
    server: SocketAddr,
) -> Resolution {
    let is_elsewhere = !horizon.is_own(server, Instant::now());
    let _asking = is_elsewhere.then(|| upstreams.loops.note_question(query, server.ip()));
    let asked = upstreams.ask_server(&DomesticServer::Udp(server), query, patience(policy)).await;
    if asked.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        horizon.was_silent(server, Instant::now());
    }
    let bogus = memory.bogus.borrow();
    let stored = asked.ok().and_then(|message| policy.confined(query, &message, bogus.all()));
    let Some(stored) = stored else { return Resolution::Servfail(UNKNOWN) };
    horizon.answers.borrow_mut().insert(query, stored.clone(), Instant::now());
    Resolution::fresh(stored)
}
