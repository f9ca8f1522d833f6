//! Tests of proxies that somebody asks for: which ones are meant, how many run at a time, and how
//! the way without a proxy finds its addresses.

use super::build;
use super::generation::{Generation, Parts};
use crate::dispatch::{DelayError, DelayUrl, Dispatcher, MemberQuestions, Upstream, direct_delay};
use crate::dns;
use crate::net::Outbound;
use crate::proxy::direct::Direct;
use crate::proxy::tls::Tls;
use crate::task::JoinSet;
use crate::view::{DIRECT, DelayAsk, DelayView};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// So many tests run at a time, whoever asks; others wait for their turn.
const MOST_AT_ONCE: usize = 16;

/// So many are asked for at a time; a provider may hand out hundreds of servers.
const MOST_ASKED: usize = 512;

const USUAL_PATIENCE: Duration = Duration::from_secs(5);

/// In milliseconds; cores of the Clash API take no more either.
const PATIENCES: RangeInclusive<u64> = 1..=32_767;

/// What all tests share.
#[derive(Clone)]
pub(super) struct DelayTests {
    tls: Tls,
    places: Arc<Semaphore>,
}

impl Default for DelayTests {
    fn default() -> Self {
        DelayTests { tls: Tls::default(), places: Arc::new(Semaphore::new(MOST_AT_ONCE)) }
    }
}

/// What was asked for, understood.
pub(super) struct DelayRound {
    tests: DelayTests,
    subjects: Vec<DelaySubject>,
    url: Option<DelayUrl>,
    expected: Statuses,
    patience: Duration,
    questions: MemberQuestions,
    names: dns::Settings,
    outbound: Outbound,
}

/// What is tested.
enum DelaySubject {
    Proxy(Arc<Upstream>),
    Direct,
}

impl DelaySubject {
    fn name(&self) -> &str {
        match self {
            DelaySubject::Proxy(upstream) => upstream.name(),
            DelaySubject::Direct => DIRECT,
        }
    }
}

impl DelayRound {
    /// Looks what is meant.
    ///
    /// # Errors
    /// Something was asked for that cannot be: what was found, and what is accepted.
    pub(super) fn new(
        tests: &DelayTests,
        generation: &Generation,
        parts: &Parts,
        ask: &DelayAsk,
    ) -> Result<Self, String> {
        let dispatcher = parts.current.load();
        let milliseconds = ask.timeout.unwrap_or(USUAL_PATIENCE.as_millis() as u64);
        if !PATIENCES.contains(&milliseconds) {
            let most = PATIENCES.end();
            return Err(format!(
                "timeout: found {milliseconds}; accepted: milliseconds, from 1 to {most}"
            ));
        }
        let url = ask.url.as_deref().map(DelayUrl::parse).transpose();
        Ok(DelayRound {
            tests: tests.clone(),
            subjects: subjects(&dispatcher, &ask.names, ask.url.is_some())?,
            url: url.map_err(|why| format!("url: {why}"))?,
            expected: Statuses::parse(ask.expected.as_deref().unwrap_or("*"))?,
            patience: Duration::from_millis(milliseconds),
            questions: build::questions(&generation.config),
            names: build::dns(&generation.config, &[], None),
            outbound: parts.outbound.clone(),
        })
    }

    /// Tests all of them, and tells in their order.
    pub(super) async fn run(self) -> Vec<DelayView> {
        let round = Arc::new(self);
        let mut running = JoinSet::new();
        for place in 0..round.subjects.len() {
            let round = Arc::clone(&round);
            running.spawn(async move {
                let Ok(_place) = round.tests.places.acquire().await else {
                    return (place, DelayView::default());
                };
                (place, round.test(&round.subjects[place]).await)
            });
        }
        let mut views = running.join_all().await;
        views.sort_by_key(|(place, _)| *place);
        views.into_iter().map(|(_, view)| view).collect()
    }

    async fn test(&self, subject: &DelaySubject) -> DelayView {
        let tls = &self.tests.tls;
        let (name, result) = match (subject, &self.url) {
            (DelaySubject::Proxy(upstream), Some(url)) => {
                let delay = upstream.delay_of(url, tls, self.patience).await;
                (upstream.name(), self.expected.checked(delay))
            }
            (DelaySubject::Proxy(upstream), None) => {
                let questions = self.questions.clone();
                (upstream.name(), upstream.usual_delay(questions, self.patience).await)
            }
            (DelaySubject::Direct, Some(url)) => (DIRECT, self.test_direct(url).await),
            (DelaySubject::Direct, None) => {
                let why = "without a URL only proxies are tested".to_owned();
                (DIRECT, Err(DelayError::Failed(why)))
            }
        };
        let name = name.to_owned();
        match result {
            Ok(delay) => {
                let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1);
                DelayView { name, delay_ms: Some(delay), ..DelayView::default() }
            }
            Err(error) => {
                let is_late = matches!(error, DelayError::Late(_));
                DelayView { name, why: Some(error.to_string()), is_late, ..DelayView::default() }
            }
        }
    }

    async fn test_direct(&self, url: &DelayUrl) -> Result<Duration, DelayError> {
        let addresses = match url.host().parse() {
            Ok(ip) => vec![ip],
            Err(_) => {
                let (names, outbound) = (self.names.clone(), self.outbound.clone());
                let resolving = dns::bootstrap::addresses(url.host(), names, outbound);
                let resolved = tokio::time::timeout(self.patience, resolving).await;
                resolved.map_err(|_| DelayError::Late(self.patience))?
            }
        };
        let addresses: Vec<_> =
            addresses.into_iter().map(|ip| SocketAddr::new(ip, url.port())).collect();
        let direct = Direct::new(self.outbound.clone());
        let delay = direct_delay(&direct, &addresses, url, &self.tests.tls, self.patience).await;
        self.expected.checked(delay)
    }
}

/// Each once, however often it is named, by itself or as a member.
fn subjects(
    dispatcher: &Dispatcher,
    names: &[String],
    has_url: bool,
) -> Result<Vec<DelaySubject>, String> {
    let proxies = || dispatcher.upstreams().iter();
    if names.is_empty() {
        return Ok(proxies().cloned().map(DelaySubject::Proxy).collect());
    }
    let mut subjects = Vec::new();
    let accepted = || {
        let known: Vec<_> = proxies().map(|it| it.name()).collect();
        let direct = if has_url { format!(", {DIRECT}") } else { String::new() };
        format!("accepted: {}, the name of a group{direct}", known.join(", "))
    };
    for name in names {
        if let Some(upstream) = dispatcher.upstream(name) {
            subjects.push(DelaySubject::Proxy(Arc::clone(upstream)));
        } else if let Some(members) = dispatcher.members_of(name) {
            subjects.extend(members.iter().cloned().map(DelaySubject::Proxy));
        } else if name == DIRECT && has_url {
            subjects.push(DelaySubject::Direct);
        } else if name == DIRECT {
            let accepted = accepted();
            return Err(format!("found {name}, which only a test of a URL can take; {accepted}"));
        } else {
            let accepted = accepted();
            return Err(format!("found {name:?}, which is no proxy and no group; {accepted}"));
        }
    }
    let mut seen = HashSet::new();
    subjects.retain(|subject| seen.insert(subject.name().to_owned()));
    subjects.truncate(MOST_ASKED);
    Ok(subjects)
}

/// Statuses of HTTP that count as an answer.
#[derive(Debug, PartialEq, Eq)]
struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// `200`, `200-299/404`; `*` and the empty text are all.
    fn parse(text: &str) -> Result<Self, String> {
        let refused = || {
            format!("expected: found {text:?}; accepted: statuses, for example 204 or 200-299/404")
        };
        if text.is_empty() || text == "*" {
            return Ok(Statuses(vec![0..=u16::MAX]));
        }
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
        };
        let ranges: Option<Vec<_>> = text.split(['/', ',']).map(range).collect();
        ranges.map(Statuses).ok_or_else(refused)
    }

    fn checked(&self, answer: Result<(Duration, u16), DelayError>) -> Result<Duration, DelayError> {
        let (delay, status) = answer?;
        match self.0.iter().any(|range| range.contains(&status)) {
            true => Ok(delay),
            false => Err(DelayError::Failed(format!("it answers {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let checked = |text: &str, status| {
            Statuses::parse(text).unwrap().checked(Ok((Duration::ZERO, status))).is_ok()
        };
        for (text, status, counts) in [
            ("*", 500, true),
            ("", 204, true),
            ("204", 204, true),
            ("200", 204, false),
            ("200-299", 204, true),
            ("200-203/404", 404, true),
            ("200-203,404", 405, false),
        ] {
            assert_eq!(checked(text, status), counts, "{text} {status}");
        }
        for wrong in ["x", "200-", "-", "70000", "200;204"] {
            assert!(Statuses::parse(wrong).is_err(), "{wrong}");
        }
    }
}
