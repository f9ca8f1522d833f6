//! The judgement: which side's reply the client gets. Pure: events in, a [`Reaction`] out.
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
//! - Only a domestic verdict [`Cn`](DomesticVerdict::Cn) ends the wait for the trusted side.
//! - Any other domestic reply is never served while the trusted side may still speak.
//!
//! | domestic \ trusted | addresses | none (NODATA, NXDOMAIN) | failed or silent |
//! |---|---|---|---|
//! | `Cn` | domestic, at once | domestic | domestic |
//! | `Foreign` | trusted | trusted | stale, else SERVFAIL |
//! | `Bogus` | trusted | trusted | SERVFAIL |
//! | `NoIp` | trusted (1) | trusted | domestic, TTL at most 5 s |
//! | `Nx` | trusted | trusted | SERVFAIL |
//! | failed or silent | trusted, after the grace | the same | stale, else SERVFAIL |
//!
//! (1) Domestic, at once, if the name's other address type (the sibling) was `Cn`.
//!
//! *Grace*: a trusted reply that is the first waits up to [`GRACE`] for the domestic side, which
//! is nearer and normally was faster. While the domestic side is down ([`Patience`]) there is none.
//!
//! *Several domestic servers.* Each event carries one server's verdict. The side's verdict is the
//! most suspicious heard: `Bogus`, else `Foreign`, else `Nx`, else `NoIp`; it is "failed" when
//! every server failed or time ran out. A `Cn` overrides all of them, since servers legitimately
//! see different addresses of a content network, with one exception: after a `Bogus` the side is
//! convicted, because a forger of one server's replies also serves domestic addresses of
//! warning pages. The first usable verdict is enough to let the trusted reply pass; there is no
//! wait for slower domestic servers.
//!
//! *The trusted side* is one: the caller races or orders its servers and reports what came of it.
//!
//! The replies travel through the machine: it hands back the very one that was judged.

mod timers;

pub use timers::{GRACE, Patience, Timer, Timers};

use super::cache::NameVerdict;
use super::reply::{DomesticVerdict, Ede, TrustedVerdict};
use std::time::Duration;

/// TTL in seconds of a domestic "no address" that the trusted side could not confirm.
const UNCONFIRMED_TTL: u32 = 5;

/// What happened to a query. `R` is a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event<R> {
    /// A domestic server replied, or failed in a way that is known ([`DomesticVerdict::Err`]; also
    /// a refused datagram).
    Domestic(DomesticVerdict, R),
    /// The trusted side replied.
    Trusted(TrustedVerdict, R),
    /// The trusted side will not reply: no proxy, no connection, asked twice in vain.
    TrustedFailed,
    /// The name's other address type was judged [`DomesticVerdict::Cn`] meanwhile.
    SiblingWasCn,
    /// The grace given with [`Reaction::Wait`] is over.
    GraceOver,
    /// No time is left.
    Deadline,
}

impl<R> From<Timer> for Event<R> {
    fn from(timer: Timer) -> Self {
        match timer {
            Timer::GraceOver => Event::GraceOver,
            Timer::Deadline => Event::Deadline,
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reaction<R> {
    /// Nothing; if a time is given, send [`Event::GraceOver`] when it has passed from now.
    Wait(Option<Duration>),
    /// Answer the client. The machine is done; it answers once.
    Answer(Conclusion<R>),
}

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conclusion<R> {
    /// A domestic reply.
    Domestic {
        /// It.
        reply: R,
        /// Its TTLs are at most so many seconds, see
        /// [`Stored::capped`](super::reply::Stored::capped).
        ttl_cap: Option<u32>,
        /// What to remember about the name.
        verdict: Option<NameVerdict>,
    },
    /// The trusted reply.
    Trusted {
        /// It.
        reply: R,
        /// What to remember about the name.
        verdict: Option<NameVerdict>,
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
    domestic: SideState<Suspect<R>>,
    trusted: SideState<R>,
    answered: bool,
}

/// What is known of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SideState<T> {
    Awaited,
    Heard(T),
    Failed,
}

/// A domestic side that was heard and is not [`DomesticVerdict::Cn`]; the later, the more
/// suspicious.
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
        let domestic = if domestic_servers == 0 { SideState::Failed } else { SideState::Awaited };
        Split {
            grace,
            sibling_was_cn,
            awaited: domestic_servers,
            domestic,
            trusted: SideState::Awaited,
            answered: false,
        }
    }

    /// Takes an event. After the answer every event yields `Wait(None)`.
    pub fn on(&mut self, event: Event<R>) -> Reaction<R> {
        if self.answered {
            return Reaction::Wait(None);
        }
        let answer = match event {
            Event::Domestic(verdict, reply) => self.on_domestic(verdict, reply),
            Event::Trusted(TrustedVerdict::Err, _) | Event::TrustedFailed => {
                self.on_trusted_failed()
            }
            Event::Trusted(_, reply) => return self.on_trusted(reply),
            Event::SiblingWasCn => self.on_sibling(),
            Event::GraceOver => self.on_grace_over(),
            Event::Deadline => Some(self.conclude()),
        };
        self.step(answer)
    }

    fn step(&mut self, answer: Option<Conclusion<R>>) -> Reaction<R> {
        match answer {
            Some(answer) => {
                self.answered = true;
                Reaction::Answer(answer)
            }
            None => Reaction::Wait(None),
        }
    }

    fn on_domestic(&mut self, verdict: DomesticVerdict, reply: R) -> Option<Conclusion<R>> {
        self.awaited = self.awaited.saturating_sub(1);
        let suspect = match verdict {
            DomesticVerdict::Cn if !matches!(self.domestic, SideState::Heard(Suspect::Bogus)) => {
                let verdict = Some(NameVerdict::Domestic);
                return Some(Conclusion::Domestic { reply, ttl_cap: None, verdict });
            }
            // The side is convicted already.
            DomesticVerdict::Cn => Suspect::Bogus,
            DomesticVerdict::Bogus => Suspect::Bogus,
            DomesticVerdict::Foreign => Suspect::Foreign,
            DomesticVerdict::Nx => Suspect::Nx,
            DomesticVerdict::NoIp => Suspect::NoIp(reply),
            DomesticVerdict::Err if self.awaited > 0 => return None,
            DomesticVerdict::Err => return self.on_domestic_failed(),
        };
        match &self.domestic {
            SideState::Heard(former) if former.rank() >= suspect.rank() => {}
            _ => self.domestic = SideState::Heard(suspect),
        }
        self.on_sibling_known().or_else(|| self.conclude_if_both_spoke())
    }

    fn on_domestic_failed(&mut self) -> Option<Conclusion<R>> {
        if matches!(self.domestic, SideState::Awaited) {
            self.domestic = SideState::Failed;
        }
        self.conclude_if_both_spoke()
    }

    fn on_trusted(&mut self, reply: R) -> Reaction<R> {
        let first = !matches!(self.trusted, SideState::Heard(_));
        if first {
            self.trusted = SideState::Heard(reply);
        }
        let waits = matches!(self.domestic, SideState::Awaited);
        if waits && !self.grace.is_zero() {
            return Reaction::Wait(first.then_some(self.grace));
        }
        let answer = self.conclude();
        self.step(Some(answer))
    }

    fn on_trusted_failed(&mut self) -> Option<Conclusion<R>> {
        if matches!(self.trusted, SideState::Awaited) {
            self.trusted = SideState::Failed;
        }
        self.conclude_if_both_spoke()
    }

    fn on_sibling(&mut self) -> Option<Conclusion<R>> {
        self.sibling_was_cn = true;
        self.on_sibling_known()
    }

    /// "No address" is believed of a name that has domestic addresses of the other type.
    fn on_sibling_known(&mut self) -> Option<Conclusion<R>> {
        let no_ip = matches!(self.domestic, SideState::Heard(Suspect::NoIp(_)));
        (no_ip && self.sibling_was_cn).then(|| self.conclude())
    }

    fn on_grace_over(&mut self) -> Option<Conclusion<R>> {
        matches!(self.trusted, SideState::Heard(_)).then(|| self.conclude())
    }

    fn conclude_if_both_spoke(&mut self) -> Option<Conclusion<R>> {
        let pending = matches!(self.domestic, SideState::Awaited)
            || matches!(self.trusted, SideState::Awaited);
        (!pending).then(|| self.conclude())
    }

    /// The table. A side that is still awaited counts as failed.
    fn conclude(&mut self) -> Conclusion<R> {
        let domestic = std::mem::replace(&mut self.domestic, SideState::Failed);
        let trusted = std::mem::replace(&mut self.trusted, SideState::Failed);
        match (domestic, trusted) {
            (SideState::Heard(Suspect::NoIp(reply)), _) if self.sibling_was_cn => {
                Conclusion::Domestic { reply, ttl_cap: None, verdict: None }
            }
            (domestic, SideState::Heard(reply)) => {
                let suspected =
                    matches!(domestic, SideState::Heard(Suspect::Foreign | Suspect::Bogus));
                Conclusion::Trusted { reply, verdict: suspected.then_some(NameVerdict::Foreign) }
            }
            (SideState::Heard(Suspect::NoIp(reply)), _) => {
                Conclusion::Domestic { reply, ttl_cap: Some(UNCONFIRMED_TTL), verdict: None }
            }
            (SideState::Heard(Suspect::Foreign), _) => Conclusion::StaleElseServfail(UNCONFIRMED),
            (SideState::Heard(Suspect::Bogus), _) => Conclusion::Servfail(FORGED),
            (SideState::Heard(Suspect::Nx), _) => Conclusion::Servfail(UNCONFIRMED),
            (SideState::Awaited | SideState::Failed, _) => Conclusion::StaleElseServfail(SILENT),
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
const SILENT: Ede = Ede::unreachable(
    "neither domestic nor trusted name servers have an answer; snet explain NAME says why",
);

#[cfg(test)]
mod tests;
