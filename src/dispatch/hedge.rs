//! A dial through the members of a group: the first one in their order, and another one besides as
//! soon as that is slower than it usually is, so that no connection has to wait for a member that
//! is dying. The first that stands is taken, and the others are dropped, which closes them: nothing
//! of the client has been sent by then. Where a dial has sent its first bytes ([`FirstPayload`]) it
//! stays the only one unless it is refused; if it is slow, its member is asked, and later
//! connections may go elsewhere.

use super::attempt::{DialEnd, DialSuccess, Over};
use super::naming::MemberTarget;
use super::{Connected, Error, Upstream};
use crate::proxy::BoxFuture;
use crate::proxy::first_payload::FirstPayload;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::time::{Instant, sleep_until};

/// So many dials of one connection run at a time.
const MOST_AT_ONCE: usize = 3;

/// Dials through one of them.
///
/// # Errors
/// Every one failed or is down.
pub(super) async fn connect(
    candidates: Vec<Arc<Upstream>>,
    target: &MemberTarget<'_>,
    over: Over,
    payload: Option<&FirstPayload<'_>>,
) -> Result<Connected, Error> {
    let mut failures = DialFailures::default();
    if let [only] = &candidates[..] {
        return match only.dial(target.sent(only.send_names), over, payload).await {
            Ok(dialled) => Ok(connected(dialled, only)),
            Err(end) => {
                failures.add(only, end);
                Err(failures.into_error())
            }
        };
    }
    let mut waiting = candidates.iter();
    let mut running: Vec<RunningDial<'_>> = Vec::new();
    // The dial has sent the first bytes, and is overdue.
    let mut is_left_alone = false;
    loop {
        if running.is_empty() {
            if payload.is_some_and(FirstPayload::is_out) {
                return Err(failures.into_error());
            }
            is_left_alone = false;
            let Some(next) = waiting.next() else { return Err(failures.into_error()) };
            running.push(RunningDial::begin(next, target, over, payload));
        }
        let may_hedge = running.len() < MOST_AT_ONCE && waiting.len() > 0 && !is_left_alone;
        let patience = running.last().filter(|_| may_hedge).map(|last| last.overdue);
        let (place, result) = match patience {
            Some(overdue) => tokio::select! {
                biased;
                ended = first(&mut running) => ended,
                () = sleep_until(overdue) => {
                    is_left_alone = !payload.is_none_or(FirstPayload::hold_back);
                    if is_left_alone {
                        running.iter().for_each(|it| it.is_slow());
                    } else {
                        let begin = |it| RunningDial::begin(it, target, over, payload);
                        running.extend(waiting.next().map(begin));
                    }
                    continue;
                }
            },
            None => first(&mut running).await,
        };
        let ended = running.swap_remove(place);
        match result {
            Ok(dialled) => {
                let now = Instant::now();
                let overtaken = running.iter().filter(|it| it.overdue <= now);
                overtaken.for_each(|it| it.upstream.doubt(now));
                return Ok(connected(dialled, ended.upstream));
            }
            Err(end) => failures.add(ended.upstream, end),
        }
    }
}

fn connected(DialSuccess { link, was_ready }: DialSuccess, via: &Arc<Upstream>) -> Connected {
    Connected { was_ready, ..Connected::new(link, Some(Arc::clone(via))) }
}

/// One dial that is under way.
struct RunningDial<'a> {
    upstream: &'a Arc<Upstream>,
    dial: BoxFuture<'a, Result<DialSuccess, DialEnd>>,
    /// When it is slower than usual.
    overdue: Instant,
}

impl<'a> RunningDial<'a> {
    fn begin(
        upstream: &'a Arc<Upstream>,
        target: &'a MemberTarget<'a>,
        over: Over,
        payload: Option<&'a FirstPayload<'a>>,
    ) -> Self {
        let overdue = Instant::now() + upstream.patience();
        let dial = Box::pin(upstream.dial(target.sent(upstream.send_names), over, payload));
        RunningDial { upstream, dial, overdue }
    }

    /// Its member, or the target: the member is asked, and passed over unless it answers.
    fn is_slow(&self) {
        self.upstream.doubt(Instant::now() + self.upstream.patience());
    }
}

/// The first that ends, and its place.
async fn first(running: &mut [RunningDial<'_>]) -> (usize, Result<DialSuccess, DialEnd>) {
    poll_fn(|cx| {
        for (place, it) in running.iter_mut().enumerate() {
            if let Poll::Ready(result) = pin!(&mut it.dial).poll(cx) {
                return Poll::Ready((place, result));
            }
        }
        Poll::Pending
    })
    .await
}

/// Why the others did not serve.
#[derive(Default)]
struct DialFailures {
    causes: Vec<String>,
    refused: bool,
}

impl DialFailures {
    fn add(&mut self, upstream: &Upstream, end: DialEnd) {
        self.refused |= matches!(end, DialEnd::Refused(_));
        self.causes.extend(end.cause().map(|cause| format!("{}: {cause}", upstream.name())));
    }

    fn into_error(self) -> Error {
        match (self.causes.is_empty(), self.refused) {
            (true, _) => Error::AllProxiesDown,
            (false, true) => Error::Refused(self.causes),
            (false, false) => Error::AllProxiesFailed(self.causes),
        }
    }
}
