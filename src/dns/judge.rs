//! Asks both sides and lets `split` decide: the judgement's input and output.

use super::flight::{Outcome, TRUSTED_SILENT};
use super::reply::{DomesticVerdict, Ede, Reply, Side, Stored, Ttls, classify, classify_trusted};
use super::resolver::Resolver;
use super::split::{
    Circumstances, Conclusion, DOMESTIC_SILENCE, Event, Reaction, Split, Timer, Timers,
};
use super::wire::{Query, rr};
use crate::fault::{self, Fault};
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

/// A server that failed without a message has no reply to show; `split` never answers with it.
pub(super) type Events = mpsc::UnboundedSender<Event<Option<Stored>>>;

impl Resolver {
    /// Answers an address query for a name that nobody listed.
    pub(super) async fn judge(self: &Rc<Self>, query: &Query) -> Outcome {
        let (events, mut happened) = mpsc::unbounded_channel();
        let _told = self.siblings.enter(query, events.clone());
        self.ask_domestic(query, &events);
        self.ask_trusted(query, events);
        let now = Instant::now();
        let mut split = Split::new(Circumstances {
            domestic_servers: self.settings.servers.china.len(),
            grace: self.patience.borrow().grace(),
            sibling_was_cn: self.verdicts.borrow_mut().sibling_was_cn(
                query.name(),
                query.qtype(),
                now,
            ),
        });
        let mut timers = Timers::new(now, self.settings.servers.timeout);
        let mut domestic_was_heard = false;
        loop {
            let event = tokio::select! {
                biased;
                Some(event) = happened.recv() => event,
                () = sleep_until(timers.next().into()) => match timers.due(Instant::now()) {
                    Some(Timer::GraceOver) => Event::GraceOver,
                    Some(Timer::DomesticSilent) => Event::DomesticSilent,
                    Some(Timer::Deadline) => Event::Deadline,
                    None => continue,
                },
            };
            // An error is a word too: only silence is a miss.
            domestic_was_heard |= matches!(event, Event::Domestic(_, Some(_)));
            match split.on(event) {
                Reaction::Wait(Some(grace)) => timers.start_grace(Instant::now(), grace),
                Reaction::Wait(None) => {}
                Reaction::Answer(answer) => {
                    if !domestic_was_heard {
                        self.patience.borrow_mut().missed();
                    }
                    return self.conclude(query, answer);
                }
            }
        }
    }

    /// Asks every domestic server. They are listened to beyond the answer: a late word tells that
    /// the side is alive.
    fn ask_domestic(self: &Rc<Self>, query: &Query, events: &Events) {
        for server in self.domestic.clone() {
            let (resolver, query, events) = (Rc::clone(self), query.clone(), events.clone());
            tokio::task::spawn_local(async move {
                let asked = resolver.ask_server(&server, &query, DOMESTIC_SILENCE).await;
                let reply = asked.as_deref().ok().and_then(Reply::parse);
                let event = match &reply {
                    Some(reply) => {
                        resolver.patience.borrow_mut().heard();
                        let (china, bogus) =
                            (&resolver.settings.rules.china, resolver.bogus.borrow());
                        let verdict = match classify(reply, china, &bogus, false) {
                            DomesticVerdict::Foreign if fault::is(Fault::Judgement) => {
                                DomesticVerdict::Cn
                            }
                            verdict => verdict,
                        };
                        let stored = resolver.stored(reply, Side::Domestic);
                        Event::Domestic(verdict, Some(stored))
                    }
                    // Silence has its own clock, so that a late word still counts.
                    None if timed_out(&asked) => return,
                    None => Event::Domestic(DomesticVerdict::Err, None),
                };
                // The judgement may be over.
                let _ = events.send(event);
            });
        }
    }

    fn ask_trusted(self: &Rc<Self>, query: &Query, events: Events) {
        let (resolver, query) = (Rc::clone(self), query.clone());
        tokio::task::spawn_local(async move {
            let asked =
                timeout(resolver.settings.servers.timeout, resolver.trusted.ask(&query)).await;
            let message = asked.ok().and_then(Result::ok);
            let event = match message.as_deref().and_then(Reply::parse) {
                Some(reply) => {
                    let stored = resolver.stored(&reply, Side::Trusted);
                    Event::Trusted(classify_trusted(&reply), Some(stored))
                }
                None => Event::TrustedFailed,
            };
            let _ = events.send(event);
        });
    }

    fn conclude(&self, query: &Query, answer: Conclusion<Option<Stored>>) -> Outcome {
        let (reply, ttl_cap, verdict, is_foreign) = match answer {
            Conclusion::Domestic { reply, ttl_cap, verdict } => (reply, ttl_cap, verdict, false),
            Conclusion::Trusted { reply, verdict } => (reply, None, verdict, true),
            Conclusion::StaleElseServfail(ede) => return Outcome::Stale(ede),
            Conclusion::Servfail(ede) => return Outcome::Servfail(ede),
        };
        let Some(stored) = reply else { return Outcome::Servfail(TRUSTED_SILENT) };
        if let Some(verdict) = verdict {
            self.remember(query, verdict);
        }
        if is_foreign && self.settings.no_foreign_aaaa && query.qtype() == rr::AAAA {
            return Outcome::NoData(Ede::FILTERED);
        }
        if let Some(most) = ttl_cap {
            // Doubtful: good for this client, not for the next.
            return Outcome::Reply { stored, ttls: Ttls::AtMost(most) };
        }
        let stored = self.accept(query, stored);
        Outcome::Reply { stored, ttls: Ttls::Aged(0) }
    }
}

fn timed_out(asked: &std::io::Result<Vec<u8>>) -> bool {
    asked.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
}
