//! The judgement: which side's reply the client gets. Pure: events in, a [`Step`] out.
//!
//! # Theory of operation
//!
//! Domestic servers know the near address of a domestic site, but what they say of a foreign name
//! may be forged. Trusted servers, asked through the proxy, tell the truth but know only far
//! addresses of domestic sites. So both are asked, and the *content* of the domestic reply decides
//! whom to believe: forged replies carry foreign or impossible addresses, hardly ever domestic
//! ones. Time decides nothing: a forged reply comes first, from the right address with the right
//! id, and the true one behind it is lost. Hence:
//!
//! - Only a domestic verdict [`Cn`](Domestic::Cn) ends the wait for the trusted side.
//! - Any other domestic reply is never served while the trusted side may still speak.
//!
//! | domestic \ trusted | addresses | none (NODATA, NXDOMAIN) | failed or silent |
//! |---|---|---|---|
//! | `Cn` | domestic, at once | domestic | domestic |
//! | `Foreign` | trusted | trusted | stale, else SERVFAIL |
//! | `Bogus` | trusted | trusted | SERVFAIL |
//! | `NoIp` | trusted; domestic at once if the sibling type was `Cn` | trusted | domestic, TTL at most 5 s |
//! | `Nx` | trusted | trusted | SERVFAIL |
//! | failed or silent | trusted, after the grace | trusted, after the grace | stale, else SERVFAIL |
//!
//! *Grace*: a trusted reply that is the first waits up to [`GRACE`] for the domestic side, which
//! is nearer and normally was faster. While the domestic side is down ([`Patience`]) there is none.
//!
//! *Several domestic servers.* Each event carries one server's verdict. The side's verdict is the
//! most suspicious heard: `Bogus`, else `Foreign`, else `Nx`, else `NoIp`; it is "failed" when
//! every server failed or time ran out. A `Cn` overrides all of them, since servers legitimately
//! see different addresses of a content network, with one exception: after a `Bogus` the side is
//! convicted, because whoever forges one server's replies also serves domestic addresses of
//! warning pages. The first usable verdict is enough to let the trusted reply pass; there is no
//! wait for slower domestic servers.
//!
//! *The trusted side* is one: the caller races or orders its servers and reports what came of it.
//!
//! The replies travel through the machine: it hands back the very one that was judged.

mod timers;

pub use timers::{DEADLINE, DOMESTIC_SILENCE, GRACE, Patience, Timer, Timers};

use super::cache::Verdict;
use super::reply::{Domestic, Ede, Trusted};
use std::time::Duration;

/// TTL in seconds of a domestic "no address" that the trusted side could not confirm.
const UNCONFIRMED_TTL: u32 = 5;

/// What happened to a query. `R` is a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event<R> {
    /// A domestic server replied, or failed in a way that is known ([`Domestic::Err`]; also a
    /// refused datagram).
    Domestic(Domestic, R),
    /// [`DOMESTIC_SILENCE`] is over.
    DomesticSilent,
    /// The trusted side replied.
    Trusted(Trusted, R),
    /// The trusted side will not reply: no proxy, no connection, asked twice in vain.
    TrustedFailed,
    /// The name's other address type was judged [`Domestic::Cn`] meanwhile.
    SiblingWasCn,
    /// The grace given with [`Step::Wait`] is over.
    GraceOver,
    /// No time is left.
    Deadline,
}

impl<R> From<Timer> for Event<R> {
    fn from(timer: Timer) -> Self {
        match timer {
            Timer::GraceOver => Event::GraceOver,
            Timer::DomesticSilent => Event::DomesticSilent,
            Timer::Deadline => Event::Deadline,
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step<R> {
    /// Nothing; if a time is given, send [`Event::GraceOver`] when it has passed from now.
    Wait(Option<Duration>),
    /// Answer the client. The machine is done; it answers once.
    Answer(Answer<R>),
}

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer<R> {
    /// A domestic reply.
    Domestic {
        /// It.
        reply: R,
        /// Its TTLs are at most so many seconds, see [`Stored::capped`](super::reply::Stored::capped).
        ttl_cap: Option<u32>,
        /// What to remember about the name.
        verdict: Option<Verdict>,
    },
    /// The trusted reply.
    Trusted {
        /// It.
        reply: R,
        /// What to remember about the name.
        verdict: Option<Verdict>,
    },
    /// What the cache has, however stale; if it has nothing, SERVFAIL.
    StaleElseServfail(Ede),
    /// SERVFAIL.
    Servfail(Ede),
}

/// The judgement of one query.
#[derive(Clone, Debug)]
pub struct Split<R> {
    grace: Duration,
    sibling_was_cn: bool,
    /// Domestic servers that may still reply.
    awaited: usize,
    domestic: Side<Suspect<R>>,
    trusted: Side<R>,
    answered: bool,
}

/// What is known of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side<T> {
    Awaited,
    Heard(T),
    Failed,
}

/// A domestic side that was heard and is not [`Domestic::Cn`]; the later, the more suspicious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspect<R> {
    NoIp(R),
    Nx,
    Foreign,
    Bogus,
}

/// What the machine has to know beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// How many domestic servers were asked.
    pub domestic_servers: usize,
    /// How long a trusted reply waits for the domestic side, see [`Patience::grace`].
    pub grace: Duration,
    /// The name's other address type was judged domestic, see
    /// [`Verdicts::sibling_was_cn`](super::cache::Verdicts::sibling_was_cn).
    pub sibling_was_cn: bool,
}

impl<R> Split<R> {
    /// A query that is being asked on both sides.
    pub fn new(circumstances: Circumstances) -> Self {
        let Circumstances { domestic_servers, grace, sibling_was_cn } = circumstances;
        let domestic = if domestic_servers == 0 { Side::Failed } else { Side::Awaited };
        Split {
            grace,
            sibling_was_cn,
            awaited: domestic_servers,
            domestic,
            trusted: Side::Awaited,
            answered: false,
        }
    }

    /// Takes an event. After the answer every event yields `Wait(None)`.
    pub fn on(&mut self, event: Event<R>) -> Step<R> {
        if self.answered {
            return Step::Wait(None);
        }
        let answer = match event {
            Event::Domestic(verdict, reply) => self.on_domestic(verdict, reply),
            Event::DomesticSilent => self.on_domestic_silent(),
            Event::Trusted(Trusted::Err, _) | Event::TrustedFailed => self.on_trusted_failed(),
            Event::Trusted(_, reply) => return self.on_trusted(reply),
            Event::SiblingWasCn => self.on_sibling(),
            Event::GraceOver => self.on_grace_over(),
            Event::Deadline => Some(self.conclude()),
        };
        self.step(answer)
    }

    fn step(&mut self, answer: Option<Answer<R>>) -> Step<R> {
        match answer {
            Some(answer) => {
                self.answered = true;
                Step::Answer(answer)
            }
            None => Step::Wait(None),
        }
    }

    fn on_domestic(&mut self, verdict: Domestic, reply: R) -> Option<Answer<R>> {
        self.awaited = self.awaited.saturating_sub(1);
        let suspect = match verdict {
            Domestic::Cn if !matches!(self.domestic, Side::Heard(Suspect::Bogus)) => {
                let verdict = Some(Verdict::Domestic);
                return Some(Answer::Domestic { reply, ttl_cap: None, verdict });
            }
            // The side is convicted already.
            Domestic::Cn => Suspect::Bogus,
            Domestic::Bogus => Suspect::Bogus,
            Domestic::Foreign => Suspect::Foreign,
            Domestic::Nx => Suspect::Nx,
            Domestic::NoIp => Suspect::NoIp(reply),
            Domestic::Err if self.awaited > 0 => return None,
            Domestic::Err => return self.on_domestic_silent(),
        };
        match &self.domestic {
            Side::Heard(former) if former.rank() >= suspect.rank() => {}
            _ => self.domestic = Side::Heard(suspect),
        }
        self.on_sibling_known().or_else(|| self.conclude_if_both_spoke())
    }

    fn on_domestic_silent(&mut self) -> Option<Answer<R>> {
        if matches!(self.domestic, Side::Awaited) {
            self.domestic = Side::Failed;
        }
        self.conclude_if_both_spoke()
    }

    fn on_trusted(&mut self, reply: R) -> Step<R> {
        let first = !matches!(self.trusted, Side::Heard(_));
        if first {
            self.trusted = Side::Heard(reply);
        }
        let waits = matches!(self.domestic, Side::Awaited);
        if waits && !self.grace.is_zero() {
            return Step::Wait(first.then_some(self.grace));
        }
        let answer = self.conclude();
        self.step(Some(answer))
    }

    fn on_trusted_failed(&mut self) -> Option<Answer<R>> {
        if matches!(self.trusted, Side::Awaited) {
            self.trusted = Side::Failed;
        }
        self.conclude_if_both_spoke()
    }

    fn on_sibling(&mut self) -> Option<Answer<R>> {
        self.sibling_was_cn = true;
        self.on_sibling_known()
    }

    /// "No address" is believed of a name that has domestic addresses of the other type.
    fn on_sibling_known(&mut self) -> Option<Answer<R>> {
        let no_ip = matches!(self.domestic, Side::Heard(Suspect::NoIp(_)));
        (no_ip && self.sibling_was_cn).then(|| self.conclude())
    }

    fn on_grace_over(&mut self) -> Option<Answer<R>> {
        matches!(self.trusted, Side::Heard(_)).then(|| self.conclude())
    }

    fn conclude_if_both_spoke(&mut self) -> Option<Answer<R>> {
        let pending =
            matches!(self.domestic, Side::Awaited) || matches!(self.trusted, Side::Awaited);
        (!pending).then(|| self.conclude())
    }

    /// The table. A side that is still awaited counts as failed.
    fn conclude(&mut self) -> Answer<R> {
        let domestic = std::mem::replace(&mut self.domestic, Side::Failed);
        let trusted = std::mem::replace(&mut self.trusted, Side::Failed);
        match (domestic, trusted) {
            (Side::Heard(Suspect::NoIp(reply)), _) if self.sibling_was_cn => {
                Answer::Domestic { reply, ttl_cap: None, verdict: None }
            }
            (domestic, Side::Heard(reply)) => {
                let suspected = matches!(domestic, Side::Heard(Suspect::Foreign | Suspect::Bogus));
                Answer::Trusted { reply, verdict: suspected.then_some(Verdict::Foreign) }
            }
            (Side::Heard(Suspect::NoIp(reply)), _) => {
                Answer::Domestic { reply, ttl_cap: Some(UNCONFIRMED_TTL), verdict: None }
            }
            (Side::Heard(Suspect::Foreign), _) => Answer::StaleElseServfail(UNCONFIRMED),
            (Side::Heard(Suspect::Bogus), _) => Answer::Servfail(FORGED),
            (Side::Heard(Suspect::Nx), _) => Answer::Servfail(UNCONFIRMED),
            (Side::Awaited | Side::Failed, _) => Answer::StaleElseServfail(SILENT),
        }
    }
}

impl<R> Suspect<R> {
    fn rank(&self) -> u8 {
        match self {
            Suspect::NoIp(_) => 0,
            Suspect::Nx => 1,
            Suspect::Foreign => 2,
            Suspect::Bogus => 3,
        }
    }
}

const UNCONFIRMED: Ede =
    Ede::unreachable("the trusted name servers do not answer; is the proxy up?");
const FORGED: Ede = Ede::unreachable(
    "the domestic answer is forged, and the trusted name servers do not answer; is the proxy up?",
);
const SILENT: Ede = Ede::unreachable("neither domestic nor trusted name servers answer");

#[cfg(test)]
mod tests;
