//! What a persistent connection is given and gives back, whatever is spoken on it.

use crate::dns::wire::Query;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A connection that answers nothing for so long may have died in silence. Short enough for one
/// more try within a query's time, of which it is half at most; longer if the server is slow at
/// everything.
const STALL: Duration = Duration::from_secs(2);

/// The answers of a slow server are up to so many times as slow as its quickest.
const SPREAD: u32 = 2;

/// A query is on so many further connections at most.
const MOST_LEFT: u32 = 2;

/// A query that waits for its reply. A connection that has gone quiet leaves it to another one as
/// well: the first answer counts, and the last failure.
#[derive(Clone, Debug)]
pub(super) struct UpstreamRequest(Rc<RequestState>);

/// One that its connection may have ended.
#[derive(Clone, Debug)]
pub(super) struct WeakRequest(Weak<RequestState>);

type ReplySender = oneshot::Sender<Result<Vec<u8>, Unanswered>>;

#[derive(Debug)]
struct RequestState {
    query: Query,
    /// Empty when it is answered.
    reply: RefCell<Option<ReplySender>>,
    /// So often a connection that had gone quiet has left it to another one.
    left: Cell<u32>,
}

impl UpstreamRequest {
    /// With where its reply comes.
    pub(super) fn new(query: Query) -> (Self, oneshot::Receiver<Result<Vec<u8>, Unanswered>>) {
        let (reply, answer) = oneshot::channel();
        let state = RequestState { query, reply: RefCell::new(Some(reply)), left: Cell::new(0) };
        (UpstreamRequest(Rc::new(state)), answer)
    }

    pub(super) fn query(&self) -> &Query {
        &self.0.query
    }

    /// Whether it is answered, or was given up.
    pub(super) fn is_over(&self) -> bool {
        self.0.reply.borrow().as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Waits for that; of several that wait, the last one is told.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "HTTPS has it"))]
    pub(super) async fn over(&self) {
        poll_fn(|task| match self.0.reply.borrow_mut().as_mut() {
            Some(reply) => reply.poll_closed(task),
            None => Poll::Ready(()),
        })
        .await;
    }

    pub(super) fn answer(self, message: Vec<u8>) {
        self.send(Ok(message));
    }

    /// No answer will come from here.
    pub(super) fn fail(self, why: Unanswered) {
        if Rc::strong_count(&self.0) == 1 {
            self.send(Err(why));
        }
    }

    fn send(&self, reply: Result<Vec<u8>, Unanswered>) {
        if let Some(sender) = self.0.reply.take() {
            // A query that was given up needs no reply.
            let _ = sender.send(reply);
        }
    }

    #[cfg_attr(not(any(feature = "tls", test)), expect(dead_code, reason = "HTTPS has it"))]
    pub(super) fn downgrade(&self) -> WeakRequest {
        WeakRequest(Rc::downgrade(&self.0))
    }
}

impl WeakRequest {
    /// It, if it still waits.
    #[cfg_attr(not(any(feature = "tls", test)), expect(dead_code, reason = "HTTPS has it"))]
    pub(super) fn waiting(&self) -> Option<UpstreamRequest> {
        let request = UpstreamRequest(self.0.upgrade()?);
        (!request.is_over()).then_some(request)
    }
}

/// Why a request has no reply.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// No connection could be made, or the server does not want to answer.
    Failed(io::Error),
    /// The connection ended first. `useful`: it had answered other queries, or was asked too many.
    Ended { useful: bool },
    /// The server cannot answer at this moment; it may be asked again, so many times at most.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "HTTPS has it"))]
    Busy { cause: io::Error, most: u32 },
}

/// What a connection carried, and why it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) cause: io::Error,
    /// Bytes, to tell a silent proxy.
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Queries that were answered, and that were not.
    pub(super) answered: u32,
    pub(super) left: u32,
}

/// What a connection shares with who gives it requests.
#[derive(Clone, Debug)]
pub(super) struct ConnectionState {
    /// It takes no more requests, or nothing comes over it.
    is_shut: Rc<Cell<bool>>,
    quickest: Rc<Cell<Option<Duration>>>,
    /// `dns.timeout`
    patience: Duration,
    /// For requests that another connection shall be asked too.
    again: mpsc::UnboundedSender<UpstreamRequest>,
}

impl ConnectionState {
    /// One of the connections to a server that has answered as quickly as that.
    pub(super) fn new(
        quickest: Rc<Cell<Option<Duration>>>,
        patience: Duration,
        again: mpsc::UnboundedSender<UpstreamRequest>,
    ) -> Self {
        ConnectionState { is_shut: Rc::default(), quickest, patience, again }
    }

    pub(super) fn is_shut(&self) -> bool {
        self.is_shut.get()
    }

    /// No more requests are wanted.
    pub(super) fn shut(&self) {
        self.is_shut.set(true);
    }

    /// It lives.
    pub(super) fn open(&self) {
        self.is_shut.set(false);
    }

    /// Nothing comes over it: what it has not answered is to be asked elsewhere as well.
    pub(super) fn suspect(&self, waiting: impl Iterator<Item = UpstreamRequest>) {
        self.shut();
        for request in waiting {
            let left = &request.0.left;
            if left.replace(left.get().saturating_add(1)) < MOST_LEFT {
                // Without a receiver all of this is over.
                let _ = self.again.send(request);
            }
        }
    }

    /// An answer took so long. What a server is quickest at tells how far away it is; that it gets
    /// slower is believed by and by.
    pub(super) fn took(&self, time: Duration) {
        let quickest = self.quickest.get().map_or(time, |known| time.min(known + known / 16));
        self.quickest.set(Some(quickest));
    }

    /// After so long without a message it is asked whether it lives,
    pub(super) fn worry(&self) -> Duration {
        self.stall() / 2
    }

    /// after so long it is a suspect,
    pub(super) fn stall(&self) -> Duration {
        let slowest = SPREAD * self.quickest.get().unwrap_or_default();
        // Before the queries are given up: else it would never be found out.
        STALL.min(self.patience / 2).max(slowest).min(self.patience.mul_f32(0.9))
    }

    /// and after so long it is dead.
    pub(super) fn death(&self) -> Duration {
        self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::rr;

    fn request() -> (UpstreamRequest, oneshot::Receiver<Result<Vec<u8>, Unanswered>>) {
        UpstreamRequest::new(Query::new(&"site.example".parse().unwrap(), rr::A))
    }

    #[test]
    fn the_first_answer_counts_and_the_last_failure() {
        let ended = || Unanswered::Ended { useful: false };
        let (request, mut answer) = super::tests::request();
        let other = request.clone();
        request.fail(ended());
        assert!(answer.try_recv().is_err(), "the other may have an answer");
        assert!(!other.is_over());
        other.fail(ended());
        assert!(matches!(answer.try_recv(), Ok(Err(Unanswered::Ended { .. }))));

        let (request, mut answer) = super::tests::request();
        let (other, known) = (request.clone(), request.downgrade());
        assert!(known.waiting().is_some());
        request.answer(vec![1]);
        assert!(other.is_over() && known.waiting().is_none());
        other.answer(vec![2]);
        assert_eq!(answer.try_recv().unwrap().unwrap(), [1]);
    }

    #[test]
    fn a_slow_server_is_suspected_later() {
        let (again, _) = mpsc::unbounded_channel();
        let patience = Duration::from_secs(10);
        let connection = ConnectionState::new(Rc::default(), patience, again.clone());
        let seconds = Duration::from_secs_f32;
        assert_eq!((connection.worry(), connection.stall()), (seconds(1.0), seconds(2.0)));
        connection.took(seconds(3.0));
        assert_eq!((connection.stall(), connection.death()), (seconds(6.0), patience));
        connection.took(seconds(0.01));
        assert_eq!(connection.stall(), seconds(2.0), "it was slow at a name");
        let hasty = ConnectionState::new(Rc::default(), seconds(1.0), again);
        assert_eq!((hasty.worry(), hasty.stall()), (seconds(0.25), seconds(0.5)));
    }
}
