//! The most recent of our own outgoing connections, to recognise one that comes back.
//!
//! A connection that somebody's rule sends back to us is accepted within milliseconds of its dial,
//! or within the seconds for which the accept loop rests. So a pair of addresses is remembered for
//! [`AGE`] to twice that. (A loop that is found later than that makes one more hop, whose own dial
//! is remembered anew.)
//!
//! While our socket lives nobody else here can have its pair, but once it is closed the kernel may
//! give the same port to a program for the same destination, at once, and that connection must not
//! be taken for ours. So the socket's cookie is remembered with the pair, and where a pair is found
//! the kernel is asked which socket has it now.
//!
//! Nor is the address that accept(2) tells always that of the program's socket: conntrack
//! translates its port too where two redirected connections would look alike (one port, two
//! destinations), and takes any port for that.
//!
//! A connection of ours may come back although every rule is right: conntrack takes it for one that
//! had the same two ends, was redirected, and was reset by us seconds ago, and no rule sees it. It
//! is dialled once more, from another port. What comes back then is a loop.

use super::owner::cookie_of_connection;
use crate::sync::{lock, read, write};
use crate::target::canonical;
use socket2::{SockRef, Socket};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

/// How long a pair is remembered at least, unless there are too many, and half of what at most.
const AGE: Duration = Duration::from_secs(5);

/// Pairs of one [`AGE`].
const REMEMBERED: usize = 2048;

/// Pairs of local and remote address. The pair, and not the local address alone: the kernel gives
/// the same local port to connections with different destinations.
///
/// Of each only a keyed hash is kept, an eighth of its size, and the cookie: one that is remembered
/// is always recognised, and nobody can choose a pair that is taken for one (by chance it is, once
/// in 2^52).
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
    young: HashMap<u64, Noted>,
    old: HashMap<u64, Noted>,
    /// When `young` began.
    since: Option<Instant>,
}

/// A dial of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    /// Tells the socket from all others of its time (SO_COOKIE). `None`: a kernel before Linux 4.6.
    pub(super) cookie: Option<NonZeroU64>,
    /// Whether it is the second dial for one that came back.
    pub(super) is_second: bool,
}

/// A connection of our own that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// For the first time: it is to be dialled once more, see
    /// [`Outbound::second`](super::Outbound::second).
    Once,
    /// It was dialled a second time, and that came back too: some rule sends our own connections to
    /// us.
    Twice,
}

impl Own {
    /// Runs `dial`, which begins to connect this socket to `remote`, and notes it.
    ///
    /// The local address exists only once connect(2) was called, and over loopback the handshake is
    /// complete when that returns: another thread may have accepted the connection and ask
    /// [`contains`](Self::contains) before it is noted. So that one waits for this one. What it
    /// waits for is a system call that does not block. (To choose the port by a bind(2) before
    /// would cost every dial a call and share one range of ports among all destinations.)
    pub(super) fn noting<T>(
        &self,
        socket: &Socket,
        remote: SocketAddr,
        is_second: bool,
        dial: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let _dialling = read(&self.dialling);
        let result = dial()?;
        if let Some(local) = socket.local_addr()?.as_socket() {
            let cookie = socket.cookie().ok().and_then(NonZeroU64::new);
            self.note(local, remote, Noted { cookie, is_second }, Instant::now());
        }
        Ok(result)
    }

    fn note(&self, local: SocketAddr, remote: SocketAddr, noted: Noted, now: Instant) {
        let pair = self.hash(local, remote);
        let mut recent = lock(&self.recent);
        recent.turn(now);
        recent.young.insert(pair, noted);
    }

    /// Whether what was accepted as `accepted`, from `local` to `remote`, is ours.
    pub(super) fn returned(
        &self,
        accepted: &impl AsFd,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<Returned> {
        drop(write(&self.dialling));
        let noted = self.remembered(local, remote, Instant::now())?;
        let is_ours = match noted.cookie {
            None => true,
            ours => match cookie_of_connection(local, remote) {
                Ok(Some(found)) => NonZeroU64::new(found) == ours,
                // Ours that is gone has reset the other end. If that lives, `local` is a port that
                // conntrack chose.
                Ok(None) => !lives(accepted),
                Err(_) => true,
            },
        };
        let returned = if noted.is_second { Returned::Twice } else { Returned::Once };
        is_ours.then_some(returned)
    }

    fn remembered(&self, local: SocketAddr, remote: SocketAddr, now: Instant) -> Option<Noted> {
        let pair = self.hash(local, remote);
        let recent = lock(&self.recent);
        let age = recent.since.map_or(AGE * 2, |since| now.saturating_duration_since(since));
        let young = recent.young.get(&pair).filter(|_| age < AGE * 2);
        young.or_else(|| recent.old.get(&pair).filter(|_| age < AGE)).copied()
    }

    fn hash(&self, local: SocketAddr, remote: SocketAddr) -> u64 {
        self.hasher.hash_one((canonical(local), canonical(remote)))
    }
}

/// Whether it was not reset (getpeername(2): ENOTCONN).
fn lives(accepted: &impl AsFd) -> bool {
    SockRef::from(accepted).peer_addr().is_ok()
}

impl Recent {
    fn turn(&mut self, now: Instant) {
        let age = self.since.map_or(AGE * 2, |since| now.saturating_duration_since(since));
        if age < AGE && self.young.len() < REMEMBERED {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if age >= AGE * 2 {
            self.old = HashMap::new();
        }
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Outbound, Refusal, listen};
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    const NOTED: Noted = Noted { cookie: None, is_second: false };

    fn address(port: usize) -> SocketAddr {
        SocketAddr::new("192.0.2.1".parse().unwrap(), u16::try_from(port).unwrap())
    }

    #[test]
    fn both_ends_count() {
        let (own, now) = (Own::default(), Instant::now());
        own.note(address(1), address(2), NOTED, now);
        assert!(own.remembered(address(1), address(2), now).is_some());
        assert!(own.remembered(address(1), address(3), now).is_none());
        assert!(own.remembered(address(2), address(1), now).is_none());
    }

    #[test]
    fn a_pair_is_forgotten_with_time() {
        let (own, now) = (Own::default(), Instant::now());
        own.note(address(1), address(9), NOTED, now);
        assert!(own.remembered(address(1), address(9), now + AGE).is_some());
        assert!(
            own.remembered(address(1), address(9), now + AGE * 2).is_none(),
            "nobody dialled since"
        );
        // Others are noted meanwhile.
        own.note(address(2), address(9), NOTED, now + AGE);
        assert!(own.remembered(address(1), address(9), now + AGE).is_some());
        own.note(address(3), address(9), NOTED, now + AGE * 2);
        assert!(own.remembered(address(1), address(9), now + AGE * 2).is_none());
        assert!(own.remembered(address(2), address(9), now + AGE * 2).is_some());
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_many() {
        let (own, now) = (Own::default(), Instant::now());
        for port in 0..=REMEMBERED * 2 {
            own.note(address(port), address(9), NOTED, now);
        }
        assert!(own.remembered(address(0), address(9), now).is_none());
        assert!(own.remembered(address(REMEMBERED), address(9), now).is_some());
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
        // Not further ahead than is remembered.
        let ahead = Arc::new(Semaphore::new(REMEMBERED / 2));
        let waiting = Arc::clone(&ahead);
        tokio::spawn(async move {
            for _ in 0..5_000 {
                waiting.acquire().await.unwrap().forget();
                // The accepting side may have reset it already.
                let _ = dialling.tcp(&[there]).await;
            }
        });
        for number in 0..5_000 {
            let (accepted, client) = listener.accept().await.unwrap();
            let returned = outbound.returned(&accepted, client, there);
            assert_eq!(returned, Some(Returned::Once), "number {number}");
            super::super::reset(accepted);
            ahead.add_permits(1);
        }
    }

    /// Another test may take the port while nobody has it.
    #[tokio::test]
    async fn a_program_with_the_port_of_a_closed_connection_is_not_taken_for_us() {
        for _ in 0..100 {
            if takes_the_port_of_a_closed_connection().await {
                return;
            }
        }
        panic!("the port was taken each time");
    }

    /// False: it could not.
    async fn takes_the_port_of_a_closed_connection() -> bool {
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let there = listener.local_addr().unwrap();
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let ours = outbound.tcp(&[there]).await.unwrap();
        let (accepted, client) = listener.accept().await.unwrap();
        cookie_of_connection(client, there).expect("the kernel says whose socket it is");
        assert_eq!(outbound.returned(&accepted, client, there), Some(Returned::Once));
        let other = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        other.connect(&there.into()).unwrap();
        let (translated, _) = listener.accept().await.unwrap();
        // No TIME_WAIT, which would keep the port.
        super::super::reset(ours);
        let reset = outbound.returned(&accepted, client, there);
        assert_eq!(reset, Some(Returned::Once), "ours, which has reset it");
        let other = outbound.returned(&translated, client, there);
        assert_eq!(other, None, "a program's, behind that port");
        let program = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        if program.bind(&client.into()).and_then(|()| program.connect(&there.into())).is_err() {
            return false;
        }
        let (accepted, again) = listener.accept().await.unwrap();
        assert_eq!(again, client);
        assert_eq!(outbound.returned(&accepted, client, there), None, "a program's");
        true
    }

    #[tokio::test]
    async fn a_second_dial_is_known_for_one() {
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let there = listener.local_addr().unwrap();
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let _second = outbound.second().tcp(&[there]).await.unwrap();
        let (accepted, client) = listener.accept().await.unwrap();
        assert_eq!(outbound.returned(&accepted, client, there), Some(Returned::Twice));
    }
}
