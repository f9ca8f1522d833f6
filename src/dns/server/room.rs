//! How many clients with connections are served, and for how long.

use crate::net::allowance::Allowance;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Those who negotiated a key first are given longer (RFC 7858, 3.4).
pub(super) const ENCRYPTED_IDLE: Duration = Duration::from_secs(120);

/// Unanswered queries of one client; beyond, it is not read.
pub(super) const MOST_PIPELINED: usize = 64;

/// Where TCP clients are. When it is full the one that has been idle for longest has to leave
/// (RFC 7766, 6.2.3): idle clients must not keep others out.
#[derive(Debug)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    crowded: Notify,
}

impl Room {
    pub(super) fn new(allowance: &Allowance) -> Rc<Self> {
        Rc::new(Room { places: Arc::clone(&allowance.clients), crowded: Notify::new() })
    }

    pub(super) async fn enter(&self) -> io::Result<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(permit);
        }
        // The first of those who wait, which is the order in which they became idle.
        self.crowded.notify_one();
        Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)
    }

    /// Until another client needs a place. To be waited for by an idle one.
    pub(super) async fn is_crowded(&self) {
        self.crowded.notified().await;
    }
}
