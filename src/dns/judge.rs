//! Asks both sides about an address that no list speaks of, and lets `split` decide: the input and
//! the output of the judgement.

use super::memory::{Events, Memory};
use super::policy::QueryPolicy;
use super::reply::{
    Believed, DomesticVerdict, Ede, Reply, Side, Stored, Ttls, classify, classify_trusted,
};
use super::resolution::{Resolution, TRUSTED_SILENT};
use super::rewriting;
use super::split::{Circumstances, Conclusion, Event, Reaction, Split, Timer, Timers};
use super::upstream::Upstreams;
use super::upstream::domestic::DomesticServer;
use super::wire::Query;
use crate::fault::{self, Fault};
use crate::task::spawn_local;
use std::io;
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

/// Asks the domestic servers that are there and the trusted side at once.
pub(super) async fn both_sides(
    policy: &Rc<QueryPolicy>,
    memory: &Rc<Memory>,
    upstreams: &Rc<Upstreams>,
    query: &Query,
) -> Resolution {
    let (events, mut happened) = mpsc::unbounded_channel();
    let _told = memory.judging(query, events.clone());
    let domestic = upstreams.domestic_for(query);
    let domestic_servers = domestic.len();
    ask_domestic(policy, memory, upstreams, domestic, query, &events);
    ask_trusted(policy, memory, upstreams, query, events);
    let now = Instant::now();
    let mut split = Split::new(Circumstances {
        domestic_servers,
        grace: memory.patience.borrow().grace(),
        sibling_was_cn: memory.sibling_was_cn(query, now),
    });
    let mut timers = Timers::new(now, policy.settings.servers.timeout);
    let mut domestic_was_heard = false;
    loop {
        let event = tokio::select! {
            biased;
            Some(event) = happened.recv() => event,
            () = sleep_until(timers.next().into()) => match timers.due(Instant::now()) {
                Some(Timer::GraceOver) => Event::GraceOver,
                Some(Timer::Deadline) => Event::Deadline,
                None => continue,
            },
        };
        // An error is a sign of life too: only silence is a miss.
        domestic_was_heard |= matches!(event, Event::Domestic(_, Some(_)));
        if let Event::Domestic(verdict, _) = &event {
            memory.heard_domestic(query, *verdict);
        }
        match split.on(event) {
            Reaction::Wait(Some(grace)) => timers.start_grace(Instant::now(), grace),
            Reaction::Wait(None) => {}
            Reaction::Answer(conclusion) => {
                if !domestic_was_heard {
                    memory.patience.borrow_mut().missed();
                }
                return conclude(policy, memory, query, conclusion);
            }
        }
    }
}

/// Asks these domestic servers, each in a task of its own: a reply that comes after the answer
/// still tells that the side is alive.
fn ask_domestic(
    policy: &Rc<QueryPolicy>,
    memory: &Rc<Memory>,
    upstreams: &Rc<Upstreams>,
    servers: Vec<DomesticServer>,
    query: &Query,
    events: &Events,
) {
    for server in servers {
        let (policy, memory, upstreams) =
            (Rc::clone(policy), Rc::clone(memory), Rc::clone(upstreams));
        let (query, events) = (query.clone(), events.clone());
        spawn_local(async move {
            let patience = policy.settings.servers.timeout;
            let asked = upstreams.ask_watched(&server, &query, patience).await;
            let event = match asked.as_deref().ok().and_then(Reply::parse) {
                Some(reply) => {
                    memory.patience.borrow_mut().heard();
                    let verdict = classified(&policy, &memory, &reply);
                    if verdict == DomesticVerdict::Cn && policy.settings.answers.finds_bogus {
                        rewriting::note_domestic(&memory, &query, &reply);
                    }
                    Event::Domestic(verdict, Some(policy.stored(&reply, Side::Domestic)))
                }
                // The deadline is for both sides.
                None if timed_out(&asked) => return,
                None => Event::Domestic(DomesticVerdict::Err, None),
            };
            // The judgement may be over.
            let _ = events.send(event);
        });
    }
}

fn classified(policy: &QueryPolicy, memory: &Memory, reply: &Reply<'_>) -> DomesticVerdict {
    match classify(reply, policy.china(), memory.bogus.borrow().all(), Believed::PublicOnly) {
        DomesticVerdict::Foreign if fault::is(Fault::Judgement) => DomesticVerdict::Cn,
        verdict => verdict,
    }
}

/// Asks the trusted side, also for what is found out when the client has its answer already.
fn ask_trusted(
    policy: &Rc<QueryPolicy>,
    memory: &Rc<Memory>,
    upstreams: &Rc<Upstreams>,
    query: &Query,
    events: Events,
) {
    let (policy, memory, upstreams) = (Rc::clone(policy), Rc::clone(memory), Rc::clone(upstreams));
    let query = query.clone();
    spawn_local(async move {
        let message = upstreams.ask_trusted(&query, policy.settings.servers.timeout).await;
        let event = match message.as_deref().and_then(Reply::parse) {
            Some(reply) => {
                let verdict = classify_trusted(&reply);
                if policy.settings.answers.finds_bogus {
                    rewriting::note_trusted(&memory, &query, &reply, verdict, policy.china());
                }
                Event::Trusted(verdict, Some(policy.stored(&reply, Side::Trusted)))
            }
            None => Event::TrustedFailed,
        };
        let _ = events.send(event);
    });
}

fn conclude(
    policy: &QueryPolicy,
    memory: &Memory,
    query: &Query,
    conclusion: Conclusion<Option<Stored>>,
) -> Resolution {
    let (reply, ttl_cap, verdict, is_foreign) = match conclusion {
        Conclusion::Domestic { reply, ttl_cap, verdict } => (reply, ttl_cap, verdict, false),
        Conclusion::Trusted { reply, verdict } => (reply, None, verdict, true),
        Conclusion::StaleElseServfail(ede) => return Resolution::Stale(ede),
        Conclusion::Servfail(ede) => return Resolution::Servfail(ede),
    };
    let Some(stored) = reply else { return Resolution::Servfail(TRUSTED_SILENT) };
    if let Some(verdict) = verdict {
        memory.judged(query, verdict, Instant::now());
    }
    if is_foreign && policy.hides_if_foreign(query) {
        return Resolution::NoData(Ede::FILTERED);
    }
    match ttl_cap {
        // Doubtful: good for this client, not for the next.
        Some(most) => Resolution::Reply { stored, ttls: Ttls::AtMost(most) },
        None => Resolution::fresh(stored),
    }
}

fn timed_out(asked: &io::Result<Vec<u8>>) -> bool {
    asked.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
}
