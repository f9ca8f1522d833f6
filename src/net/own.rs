//! The most recent of our own outgoing connections, to recognise one that comes back.
//!
//! A connection that somebody's rule sends back to us is accepted within milliseconds of its dial,
//! or within the seconds for which the accept loop rests. So a pair of addresses is remembered for
//! [`AGE`] to twice that, and no longer: while our socket lives nobody else here can have its pair,
//! but once it is closed the kernel may give the same port to a program for the same destination,
//! and that connection must not be taken for ours. (A loop that is found later than that makes one
//! more hop, whose own dial is remembered anew.)

use crate::target::canonical;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How long a pair is remembered at least, unless there are too many, and half of what at most.
const AGE: Duration = Duration::from_secs(5);

/// Pairs of one [`AGE`].
const REMEMBERED: usize = 2048;

/// Pairs of local and remote address. The pair, and not the local address alone: the kernel gives
/// the same local port to connections with different destinations.
///
/// Of each only a keyed hash is kept, an eighth of its size: one that is remembered is always
/// recognised, and nobody can choose a pair that is taken for one (by chance it is, once in 2^52).
#[derive(Debug, Default)]
pub(super) struct Own {
    hasher: RandomState,
    recent: Mutex<Recent>,
    /// Read by those who dial, written by nobody: who asks takes the other side for a moment, and
    /// so waits for dials that have begun and not been noted.
    dialling: RwLock<()>,
}

/// Two generations: both are asked, and the older one is forgotten whole.
#[derive(Debug, Default)]
struct Recent {
    young: HashSet<u64>,
    old: HashSet<u64>,
    /// When `young` began.
    since: Option<Instant>,
}

impl Own {
    /// Runs `dial`, which begins to connect and tells both addresses, and notes them.
    ///
    /// The local address exists only once connect(2) was called, and over loopback the handshake is
    /// complete when that returns: another thread may have accepted the connection and ask
    /// [`contains`](Self::contains) before it is noted. So that one waits for this one. What it
    /// waits for is a system call that does not block. (To choose the port by a bind(2) before
    /// would cost every dial a call and share one range of ports among all destinations.)
    pub(super) fn noting<T, E>(
        &self,
        dial: impl FnOnce() -> Result<(T, Option<(SocketAddr, SocketAddr)>), E>,
    ) -> Result<T, E> {
        let _dialling = self.dialling.read().unwrap_or_else(PoisonError::into_inner);
        let (result, pair) = dial()?;
        if let Some((local, remote)) = pair {
            self.note(local, remote, Instant::now());
        }
        Ok(result)
    }

    fn note(&self, local: SocketAddr, remote: SocketAddr, now: Instant) {
        let pair = self.hash(local, remote);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.turn(now);
        recent.young.insert(pair);
    }

    pub(super) fn contains(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        drop(self.dialling.write().unwrap_or_else(PoisonError::into_inner));
        self.contains_at(local, remote, Instant::now())
    }

    fn contains_at(&self, local: SocketAddr, remote: SocketAddr, now: Instant) -> bool {
        let pair = self.hash(local, remote);
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let age = recent.since.map_or(AGE * 2, |since| now.saturating_duration_since(since));
        recent.young.contains(&pair) && age < AGE * 2 || recent.old.contains(&pair) && age < AGE
    }

    fn hash(&self, local: SocketAddr, remote: SocketAddr) -> u64 {
        self.hasher.hash_one((canonical(local), canonical(remote)))
    }
}

impl Recent {
    fn turn(&mut self, now: Instant) {
        let age = self.since.map_or(AGE * 2, |since| now.saturating_duration_since(since));
        if age < AGE && self.young.len() < REMEMBERED {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if age >= AGE * 2 {
            self.old = HashSet::new();
        }
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Outbound, Refusal, listen};

    fn address(port: usize) -> SocketAddr {
        SocketAddr::new("192.0.2.1".parse().unwrap(), u16::try_from(port).unwrap())
    }

    #[test]
    fn both_ends_count() {
        let (own, now) = (Own::default(), Instant::now());
        own.note(address(1), address(2), now);
        assert!(own.contains_at(address(1), address(2), now));
        assert!(!own.contains_at(address(1), address(3), now));
        assert!(!own.contains_at(address(2), address(1), now));
    }

    #[test]
    fn a_pair_is_forgotten_with_time() {
        let (own, now) = (Own::default(), Instant::now());
        own.note(address(1), address(9), now);
        assert!(own.contains_at(address(1), address(9), now + AGE));
        assert!(!own.contains_at(address(1), address(9), now + AGE * 2), "nobody dialled since");
        // Others are noted meanwhile.
        own.note(address(2), address(9), now + AGE);
        assert!(own.contains_at(address(1), address(9), now + AGE));
        own.note(address(3), address(9), now + AGE * 2);
        assert!(!own.contains_at(address(1), address(9), now + AGE * 2));
        assert!(own.contains_at(address(2), address(9), now + AGE * 2));
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_many() {
        let (own, now) = (Own::default(), Instant::now());
        for port in 0..=REMEMBERED * 2 {
            own.note(address(port), address(9), now);
        }
        assert!(!own.contains_at(address(0), address(9), now));
        assert!(own.contains_at(address(REMEMBERED), address(9), now));
        let recent = own.recent.lock().unwrap();
        assert!(recent.young.len() + recent.old.len() <= REMEMBERED * 2);
    }

    /// The handshake is complete within connect(2), and another thread accepts at once.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn whoever_accepts_knows_the_dial() {
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let there = listener.local_addr().unwrap();
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let dialling = outbound.clone();
        tokio::spawn(async move {
            for _ in 0..5_000 {
                // The accepting side may have reset it already.
                let _ = dialling.tcp(&[there]).await;
            }
        });
        for number in 0..5_000 {
            let (accepted, client) = listener.accept().await.unwrap();
            assert!(outbound.is_own(client, there), "number {number}");
            super::super::reset(accepted);
        }
    }
}
