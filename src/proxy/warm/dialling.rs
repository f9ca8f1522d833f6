//! One dial ahead of need: what it becomes, and what it tells while it lasts.

use super::{Ready, Unspoken, WarmState};
use crate::proxy::{BoxFuture, Error};
use crate::sync::lock;
use crate::task;
use std::sync::Weak;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};

/// It is given up after so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// A dial ahead of need. Dropped, it counts no longer.
pub(super) struct DiallingAhead<C> {
    pub(super) state: Weak<WarmState<C>>,
    /// What has to be the same at its end.
    pub(super) turn: (u64, u64),
    pub(super) born: Instant,
    /// A dial that takes longer says something.
    pub(super) remarkable: Option<Duration>,
}

impl<C: Unspoken> DiallingAhead<C> {
    pub(super) async fn run(
        self,
        dial: BoxFuture<'static, Result<C, Error>>,
        lent: OwnedSemaphorePermit,
    ) {
        let dialled = timeout(PATIENCE, self.noticing(dial)).await;
        let Some(state) = self.state.upgrade() else { return };
        match dialled {
            Ok(Ok(connection)) => {
                let ready = Ready { connection, born: self.born, _lent: lent };
                if state.keep(ready, self.turn) {
                    task::spawn(watch(self.state.clone()));
                }
            }
            Ok(Err(_)) | Err(_) => state.could_not_dial(),
        }
    }

    /// The dial to its end; that it is slow is told while it is.
    async fn noticing(&self, mut dial: BoxFuture<'static, Result<C, Error>>) -> Result<C, Error> {
        if let Some(remarkable) = self.remarkable {
            if let Ok(dialled) = timeout(remarkable, &mut dial).await {
                return dialled;
            }
            if let Some(state) = self.state.upgrade() {
                state.dials_slowly(self.turn);
            }
        }
        dial.await
    }
}

impl<C> Drop for DiallingAhead<C> {
    fn drop(&mut self) {
        if let Some(state) = self.state.upgrade() {
            lock(&state.stock).dialling -= 1;
        }
    }
}

/// Closes what becomes too old, while there is something.
async fn watch<C: Unspoken>(state: Weak<WarmState<C>>) {
    loop {
        let Some(next) = state.upgrade().and_then(|state| state.clear_old()) else { return };
        sleep_until(next).await;
    }
}
