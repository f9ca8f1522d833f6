//! How many clients with connections are served, and for how long.
//!
//! When the room is full the one that has been idle for longest has to leave (RFC 7766, 6.2.3):
//! idle clients must not keep others out, and busy ones neither. So the last quarter of the places
//! is for hosts that have fewer than are left. Who has as many, and an eighth of all, gets no
//! further one then, but one of its own idle ones ends. This machine is not limited so: its
//! programs cannot be told apart.

use crate::net;
use crate::net::allowance::Allowance;
use crate::target::canonical;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Those who negotiated a key first are given longer (RFC 7858, 3.4).
#[cfg(feature = "tls")]
pub(super) const ENCRYPTED_IDLE: std::time::Duration = std::time::Duration::from_secs(120);

/// Unanswered queries of one client; beyond, it is not read.
pub(super) const MOST_PIPELINED: usize = 64;

/// Where TCP clients are.
#[derive(Debug)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    all: usize,
    crowded: Notify,
    hosts: RefCell<HashMap<IpAddr, Rc<HostPlaces>>>,
}

/// The places of one host.
#[derive(Debug, Default)]
struct HostPlaces {
    held: Cell<usize>,
    /// It wants another one.
    crowded: Notify,
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct RoomPlace {
    room: Rc<Room>,
    host: IpAddr,
    places: Rc<HostPlaces>,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(allowance: &Allowance) -> Rc<Self> {
        let (places, all) = (Arc::clone(&allowance.clients), allowance.numbers.clients);
        Rc::new(Room { places, all, crowded: Notify::new(), hosts: RefCell::default() })
    }

    /// A place, for which an idle client has to leave if there is none. `None`: this host has its
    /// share.
    ///
    /// # Errors
    /// Never: the room is not closed.
    pub(super) async fn enter(
        self: &Rc<Self>,
        client: SocketAddr,
    ) -> io::Result<Option<RoomPlace>> {
        let client = canonical(client);
        let host = client.ip();
        let places = Rc::clone(self.hosts.borrow_mut().entry(host).or_default());
        if places.has_share(self) && !host.is_loopback() && !net::is_own_address(client) {
            places.crowded.notify_one();
            return Ok(None);
        }
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                // The first of those who wait, which is the order in which they became idle.
                self.crowded.notify_one();
                let waiting = Arc::clone(&self.places).acquire_owned();
                waiting.await.map_err(io::Error::other)?
            }
        };
        places.held.set(places.held.get() + 1);
        Ok(Some(RoomPlace { room: Rc::clone(self), host, places, _permit: permit }))
    }
}

impl HostPlaces {
    fn has_share(&self, room: &Room) -> bool {
        has_share(self.held.get(), room.places.available_permits(), room.all)
    }
}

/// Whether a host that holds so many places gets no further one while so many of all are free.
fn has_share(held: usize, free: usize, all: usize) -> bool {
    free <= all / 4 && held >= free.max(all / 8).max(1)
}

impl RoomPlace {
    /// Until another client needs it. To be waited for by an idle one.
    pub(super) async fn is_wanted(&self) {
        loop {
            let is_full = tokio::select! {
                () = self.room.crowded.notified() => self.room.places.available_permits() == 0,
                () = self.places.crowded.notified() => self.places.has_share(&self.room),
            };
            // A call for which nobody was idle waits for the next one, who is no longer meant.
            if is_full {
                return;
            }
        }
    }
}

impl Drop for RoomPlace {
    fn drop(&mut self) {
        let held = self.places.held.get() - 1;
        self.places.held.set(held);
        // The map has it, and who else does is about to enter.
        if held == 0 && Rc::strong_count(&self.places) == 2 {
            self.room.hosts.borrow_mut().remove(&self.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::task::{LocalSet, spawn_local};

    fn room() -> Rc<Room> {
        let room = Room::new(&Allowance::default());
        assert_eq!(room.all, 16);
        room
    }

    async fn enter(room: &Rc<Room>, client: &str, tries: usize) -> Vec<RoomPlace> {
        let client = SocketAddr::new(client.parse().unwrap(), 4000);
        let mut places = Vec::new();
        while places.len() < tries
            && let Some(place) = room.enter(client).await.unwrap()
        {
            places.push(place);
        }
        places
    }

    #[tokio::test]
    async fn a_crowd_of_before_ends_nobody() {
        let room = room();
        let crowd = enter(&room, "127.0.0.1", 16).await;
        room.crowded.notify_one();
        crowd[0].places.crowded.notify_one();
        drop(crowd);
        let later = enter(&room, "127.0.0.1", 1).await;
        let wanted = std::pin::pin!(later[0].is_wanted());
        let soon = tokio::time::timeout(Duration::from_millis(20), wanted).await;
        assert!(soon.is_err(), "it had to leave");
    }

    #[tokio::test]
    async fn one_host_leaves_places_for_others() {
        let room = room();
        let flood = enter(&room, "192.0.2.9", 99).await;
        assert_eq!(flood.len(), 12);
        assert_eq!(enter(&room, "::ffff:192.0.2.9", 1).await.len(), 0, "the same host");
        let second = enter(&room, "192.0.2.8", 99).await;
        assert_eq!(second.len(), 2);
        assert_eq!(enter(&room, "192.0.2.7", 1).await.len(), 1);
        drop((flood, second));
        assert!(room.hosts.borrow().is_empty());
        assert_eq!(enter(&room, "127.0.0.1", 16).await.len(), 16, "this machine");
    }

    #[tokio::test]
    async fn a_host_with_its_share_makes_way_for_itself() {
        let set = LocalSet::new();
        set.run_until(async {
            let room = room();
            let other = enter(&room, "192.0.2.1", 1).await;
            let mut flood = enter(&room, "192.0.2.9", 11).await;
            let (idle, busy) = (flood.pop().unwrap(), flood);
            let leaving = spawn_local(async move {
                idle.is_wanted().await;
            });
            tokio::task::yield_now().await;
            assert_eq!(enter(&room, "192.0.2.9", 1).await.len(), 0);
            leaving.await.unwrap();
            assert_eq!(enter(&room, "192.0.2.9", 1).await.len(), 1);
            drop((other, busy));
        })
        .await;
    }

    /// Whose connections are few is not refused: an idle one of anybody leaves.
    #[tokio::test]
    async fn a_full_room_makes_way_for_a_newcomer() {
        let set = LocalSet::new();
        set.run_until(async {
            let room = room();
            let mut full = enter(&room, "127.0.0.1", 16).await;
            let idle = full.pop().unwrap();
            spawn_local(async move {
                idle.is_wanted().await;
            });
            tokio::task::yield_now().await;
            assert_eq!(enter(&room, "192.0.2.9", 1).await.len(), 1);
        })
        .await;
    }
}
