//! The tasks of the daemon that must not end, and their end.

use super::error::Error;
use crate::dns::bootstrap::Bootstrap;
use crate::task::JoinSet;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

/// Accept loops, resolver, heartbeat and the like: none of them may end before it is told to.
pub(super) struct Tasks {
    /// Tells all of them to stop. Dropped before they are, it tells them too.
    stop: watch::Sender<bool>,
    running: JoinSet<Result<(), Error>>,
    /// The one task that a reload replaces.
    bootstrap: Option<AbortHandle>,
    /// Closed when the resolver has ended.
    resolver: Option<oneshot::Receiver<()>>,
}

impl Tasks {
    pub(super) fn new() -> Self {
        let (stop, _) = watch::channel(false);
        Tasks { stop, running: JoinSet::new(), bootstrap: None, resolver: None }
    }

    /// Turns true when a task has to end.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Starts a task that returns true when it was told to stop, and must not end otherwise.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = bool> + Send + 'static,
    ) -> AbortHandle {
        self.spawn_fallible(async move { if task.await { Ok(()) } else { Err(Error::Died(name)) } })
    }

    /// Starts a task whose failure ends the daemon.
    pub(super) fn spawn_fallible(
        &mut self,
        task: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> AbortHandle {
        self.running.spawn(task)
    }

    /// The same as [`spawn`](Self::spawn) for the resolver, whose end a stop waits for.
    pub(super) fn spawn_resolver(&mut self, task: impl Future<Output = bool> + Send + 'static) {
        let (answering, ended) = oneshot::channel::<()>();
        self.resolver = Some(ended);
        self.spawn("resolver", async move {
            let _answering = answering;
            task.await
        });
    }

    /// Keeps the addresses of the proxies' servers fresh, instead of those of an earlier
    /// generation.
    pub(super) fn keep_fresh(&mut self, bootstrap: Bootstrap) {
        let keeping = bootstrap.keep_fresh(self.stopped());
        if let Some(former) = self.bootstrap.take() {
            former.abort();
        }
        self.bootstrap = Some(self.spawn("bootstrap", keeping));
    }

    /// Tells all of them to end.
    pub(super) fn tell_to_stop(&self) {
        // It fails if every task died; then there is none to tell.
        let _ = self.stop.send(true);
    }

    /// Waits for the resolver to end, whose last answers are then kept.
    pub(super) async fn resolver_ended(&mut self) {
        if let Some(ended) = &mut self.resolver {
            let _ = ended.await;
        }
    }

    /// Waits for a task to end, which is a failure.
    pub(super) async fn failure(&mut self) -> Error {
        while let Some(ended) = self.running.join_next().await {
            match ended {
                // The bootstrap of a former generation.
                Err(error) if error.is_cancelled() => {}
                Ok(Err(error)) => return error,
                Ok(Ok(())) | Err(_) => return Error::Died("a task"),
            }
        }
        std::future::pending().await
    }
}
