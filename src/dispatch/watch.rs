//! Keeps what is known of the members fresh, as long as a dispatcher is the present one: looks at
//! the connections that wait for an answer, and asks the members that are due.

use super::question::{Inquiry, MemberQuestions};
use super::standing::MemberUse;
use super::unanswered::SPEAKS;
use super::{Dispatcher, Upstream};
use crate::task::JoinSet;
use rand::RngExt;
use std::future::poll_fn;
use std::mem::take;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// While connections wait for an answer they are looked at so often.
const LOOK: Duration = Duration::from_millis(200);

/// So many members are asked at a time: a provider may hand out hundreds.
const MOST_AT_ONCE: usize = 8;

/// So many others are asked whether anybody hears from where one member does not.
const WITNESSES: usize = 2;

/// Otherwise, whether a question is due; whatever is learned meanwhile tells.
const REST: Duration = Duration::from_secs(60);

impl Dispatcher {
    /// Watches the members until it is dropped. Each is asked at once.
    pub async fn watch(self: Arc<Self>, questions: MemberQuestions) {
        let inquiry = Arc::new(Inquiry::new(questions));
        let mut asking: JoinSet<()> = JoinSet::new();
        // One value for each, so that a question that is due does not move away.
        let jitters: Vec<f64> = self.upstreams.iter().map(|_| rand::rng().random()).collect();
        self.upstreams.iter().for_each(|it| it.knowledge().standing.want());
        loop {
            let now = Instant::now();
            self.upstreams.iter().for_each(|it| it.look(now));
            let mut wake = now + REST;
            if self.upstreams.iter().any(|it| it.is_awaited()) {
                wake = now + LOOK;
            }
            self.ask_witnesses(now);
            for (upstream, jitter) in self.upstreams.iter().zip(&jitters) {
                let used = self.used(upstream, now);
                let due = upstream.knowledge().standing.next_question(used, *jitter, now);
                match due {
                    // The end of one of those under way wakes.
                    Some(due) if due <= now && asking.len() >= MOST_AT_ONCE => {}
                    Some(due) if due <= now => {
                        let inquiry = Arc::clone(&inquiry);
                        asking.spawn(upstream.question(inquiry, used.is_compared));
                    }
                    Some(due) => wake = wake.min(due),
                    None => {}
                }
            }
            tokio::select! {
                () = sleep_until(wake) => {}
                () = news(&self.upstreams) => {}
                place = suspected(&self.upstreams) => {
                    let upstream = &self.upstreams[place];
                    upstream.doubt(Instant::now() + upstream.patience());
                }
                Some(_) = asking.join_next() => {}
            }
        }
    }

    /// Whose fault it is that a member does not answer is not known: two others are asked the same.
    fn ask_witnesses(&self, now: Instant) {
        let mut ambiguous = 0;
        for upstream in &self.upstreams {
            ambiguous += usize::from(take(&mut upstream.knowledge().is_ambiguous));
        }
        let lately = now.checked_sub(SPEAKS).filter(|_| ambiguous > 0);
        let Some(lately) = lately else { return };
        let others = self.upstreams.iter();
        others
            .filter(|it| it.knowledge().standing.want_unless_asked_since(lately))
            .take(WITNESSES)
            .for_each(drop);
    }

    /// Who depends on a member.
    fn used(&self, upstream: &Arc<Upstream>, now: Instant) -> MemberUse {
        let mut used = MemberUse::default();
        let of = |members: &[Arc<Upstream>]| members.iter().any(|it| Arc::ptr_eq(it, upstream));
        for group in self.groups.iter().filter(|group| of(group.members())) {
            used.has_others |= group.members().len() > 1;
            used.is_wanted |= group.is_wanted(now);
            used.is_compared |= group.compares();
        }
        used
    }
}

/// Waits until something is learned of one of them.
async fn news(upstreams: &[Arc<Upstream>]) {
    any(upstreams.iter().map(|it| Box::pin(it.news.notified())).collect()).await;
}

/// Waits until a dial ahead of need failed or was slow; to whose server.
async fn suspected(upstreams: &[Arc<Upstream>]) -> usize {
    let waiting = upstreams.iter().map(|it| match it.proxy.dialled_ahead() {
        Some(ahead) => ahead.suspicion(),
        None => Box::pin(std::future::pending()),
    });
    any(waiting.collect()).await
}

/// Waits for the first of them; which one it is.
async fn any<F: Future<Output = ()> + Unpin>(mut waiting: Vec<F>) -> usize {
    poll_fn(|cx| {
        let place = waiting.iter_mut().position(|it| pin!(it).poll(cx).is_ready());
        place.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
