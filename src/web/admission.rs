//! Who is served at a time: those who have shown the secret, and newcomers, each with places of
//! their own.
//!
//! Whoever reaches the port can open connections and say nothing. So a newcomer that finds no place
//! displaces another one: the oldest of the host that has most of them. Who asks at once, as every
//! dashboard does, has long shown the secret by then. Newcomers wait in the kernel while the
//! displaced one is closed: there are never more descriptors than places.

use crate::sync::lock;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// So many who have shown the secret; a browser with a dashboard has about ten connections.
const MOST_HOLDERS: usize = 48;

/// So many others.
const MOST_NEWCOMERS: usize = 64;

/// Descriptors at a time: each may have a connection, and a file that is read for it.
pub const MOST_DESCRIPTORS: usize = 2 * (MOST_HOLDERS + MOST_NEWCOMERS);

/// The places.
#[derive(Debug)]
pub(super) struct Admission {
    holders: Arc<Semaphore>,
    newcomers: Arc<Semaphore>,
    waiting: Mutex<Newcomers>,
}

/// Those who have not shown the secret, in their order.
#[derive(Debug, Default)]
struct Newcomers {
    next: u64,
    all: BTreeMap<u64, Newcomer>,
}

#[derive(Debug)]
struct Newcomer {
    from: IpAddr,
    /// Tells it to go.
    displace: oneshot::Sender<()>,
}

/// A place, of one connection.
#[derive(Debug)]
pub(super) struct WebPlace {
    admission: Arc<Admission>,
    number: u64,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Default for Admission {
    fn default() -> Self {
        Admission {
            holders: Arc::new(Semaphore::new(MOST_HOLDERS)),
            newcomers: Arc::new(Semaphore::new(MOST_NEWCOMERS)),
            waiting: Mutex::default(),
        }
    }
}

impl Admission {
    /// A place for a newcomer. Also what ends when it has to go.
    pub(super) async fn enter(
        self: &Arc<Self>,
        from: IpAddr,
    ) -> (WebPlace, impl Future<Output = ()> + use<>) {
        let free = Arc::clone(&self.newcomers).try_acquire_owned().ok();
        let permit = match free {
            Some(permit) => Some(permit),
            None => {
                lock(&self.waiting).displace();
                // Closed never.
                Arc::clone(&self.newcomers).acquire_owned().await.ok()
            }
        };
        let (displace, displaced) = oneshot::channel();
        let number = lock(&self.waiting).enter(Newcomer { from, displace });
        let place = WebPlace { admission: Arc::clone(self), number, held: Mutex::new(permit) };
        let displaced = async move {
            // Who has shown the secret is told nothing any more.
            if displaced.await.is_err() {
                std::future::pending().await
            }
        };
        (place, displaced)
    }
}

impl Newcomers {
    fn enter(&mut self, newcomer: Newcomer) -> u64 {
        let number = self.next;
        self.next += 1;
        self.all.insert(number, newcomer);
        number
    }

    fn displace(&mut self) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for newcomer in self.all.values() {
            *counts.entry(newcomer.from).or_default() += 1;
        }
        let most = counts.values().max();
        let oldest = self.all.iter().find(|(_, it)| counts.get(&it.from) == most);
        if let Some(number) = oldest.map(|(number, _)| *number)
            && let Some(newcomer) = self.all.remove(&number)
        {
            // One that is gone already has made room.
            let _ = newcomer.displace.send(());
        }
    }
}

impl WebPlace {
    /// It has shown the secret. False: too many others have, too.
    pub(super) fn has_shown_the_secret(&self) -> bool {
        let mut waiting = lock(&self.admission.waiting);
        if !waiting.all.contains_key(&self.number) {
            // Either it is a holder already, or it is being displaced.
            return true;
        }
        let Ok(permit) = Arc::clone(&self.admission.holders).try_acquire_owned() else {
            return false;
        };
        waiting.all.remove(&self.number);
        drop(waiting);
        *lock(&self.held) = Some(permit);
        true
    }
}

impl Drop for WebPlace {
    fn drop(&mut self) {
        lock(&self.admission.waiting).all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::time::Duration;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    async fn soon<T>(it: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(20), it).await.expect("it comes")
    }

    fn host(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn the_oldest_of_the_host_that_has_most_makes_room() {
        let admission = Arc::new(Admission::default());
        let (quiet, quiet_goes) = admission.enter(host(1)).await;
        let mut crowd = Vec::new();
        for _ in 1..MOST_NEWCOMERS {
            crowd.push(admission.enter(host(2)).await);
        }
        let mut entering = pin!(admission.enter(host(3)));
        tokio::select! {
            biased;
            _ = &mut entering => panic!("there is no place yet"),
            () = yield_now() => {}
        }
        let (first, goes) = crowd.remove(0);
        soon(goes).await;
        drop(first);
        let (_late, _) = soon(entering).await;
        let mut quiet_goes = pin!(quiet_goes);
        tokio::select! {
            biased;
            () = &mut quiet_goes => panic!("its host has one place only"),
            () = yield_now() => {}
        }
        drop(quiet);
    }

    #[tokio::test]
    async fn who_has_shown_the_secret_is_displaced_by_nobody() {
        let admission = Arc::new(Admission::default());
        let mut holders = Vec::new();
        for _ in 0..MOST_HOLDERS {
            let (place, goes) = admission.enter(host(1)).await;
            assert!(place.has_shown_the_secret() && place.has_shown_the_secret());
            holders.push((place, goes));
        }
        let (one_more, _) = admission.enter(host(1)).await;
        assert!(!one_more.has_shown_the_secret(), "they are bounded, too");
        drop(one_more);
        let mut crowd = Vec::new();
        for _ in 0..MOST_NEWCOMERS {
            crowd.push(admission.enter(host(1)).await);
        }
        assert_eq!(lock(&admission.waiting).all.len(), MOST_NEWCOMERS);
        for _ in 0..MOST_NEWCOMERS {
            let mut entering = pin!(admission.enter(host(1)));
            tokio::select! {
                biased;
                _ = &mut entering => panic!("there is no place yet"),
                () = yield_now() => {}
            }
            let (place, goes) = crowd.remove(0);
            soon(goes).await;
            drop(place);
            let entered = soon(entering).await;
            crowd.push(entered);
        }
        for (_, goes) in holders {
            tokio::select! {
                biased;
                () = goes => panic!("it has shown the secret"),
                () = yield_now() => {}
            }
        }
    }
}
