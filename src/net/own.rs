//! The most recent of our own outgoing connections, to recognise one that comes back.

use crate::target::canonical;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

/// A looped connection is accepted within milliseconds of the dial, so a short memory does; it is
/// bounded by count, which needs no clock.
const REMEMBERED: usize = 4096;

/// Pairs of local and remote address. The pair, and not the local address alone: the kernel gives
/// the same local port to connections with different destinations.
///
/// Of each only a keyed hash is kept, an eighth of its size: one that is remembered is always recognised, and
/// nobody can choose a pair that is taken for one (by chance it is, once in 2^52).
#[derive(Debug, Default)]
pub(super) struct Own {
    hasher: RandomState,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<u64>,
    pairs: HashSet<u64>,
}

impl Own {
    pub(super) fn note(&self, local: SocketAddr, remote: SocketAddr) {
        let pair = self.hash(local, remote);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if !recent.pairs.insert(pair) {
            return;
        }
        recent.order.push_back(pair);
        if recent.order.len() > REMEMBERED
            && let Some(oldest) = recent.order.pop_front()
        {
            recent.pairs.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.pairs.contains(&self.hash(local, remote))
    }

    fn hash(&self, local: SocketAddr, remote: SocketAddr) -> u64 {
        self.hasher.hash_one((canonical(local), canonical(remote)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: usize) -> SocketAddr {
        SocketAddr::new("192.0.2.1".parse().unwrap(), u16::try_from(port).unwrap())
    }

    #[test]
    fn both_ends_count() {
        let own = Own::default();
        own.note(address(1), address(2));
        assert!(own.contains(address(1), address(2)));
        assert!(!own.contains(address(1), address(3)));
        assert!(!own.contains(address(2), address(1)));
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let own = Own::default();
        for port in 0..=REMEMBERED {
            own.note(address(port), address(9));
        }
        assert!(!own.contains(address(0), address(9)));
        assert!(own.contains(address(1), address(9)));
        assert_eq!(own.recent.lock().unwrap().order.len(), REMEMBERED);
    }
}
