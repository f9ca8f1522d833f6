//! The sockets that replies leave from: one for each foreign address, shared by all sessions.
//!
//! Making one costs six system calls, so they are kept; they are bounded, since each has a
//! descriptor. The one that was used the longest time ago goes first, and what has rested for a
//! minute goes anyway.

use crate::net::Outbound;
use crate::net::udp::transparent::ReplySocket;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, warn};

/// How long an unused socket is kept.
const IDLE: Duration = Duration::from_secs(60);

/// How long a source whose socket could not be made is not tried again.
const REFUSED: Duration = Duration::from_secs(5);

/// Makes the socket of a source.
pub(super) type Bind = fn(&Outbound, SocketAddr) -> io::Result<ReplySocket>;

/// The reply sockets of the process.
#[derive(Debug)]
pub(super) struct ReplySockets {
    outbound: Outbound,
    bind: Bind,
    most: usize,
    kept: HashMap<SocketAddr, KeptSocket>,
    is_told: bool,
}

#[derive(Debug)]
struct KeptSocket {
    /// `None`: it could not be made.
    socket: Option<Rc<ReplySocket>>,
    used: Instant,
}

impl ReplySockets {
    /// At most `most` at a time.
    pub(super) fn new(outbound: Outbound, bind: Bind, most: usize) -> Self {
        let most = most.max(1);
        ReplySockets { outbound, bind, most, kept: HashMap::new(), is_told: false }
    }

    /// The socket of this source. `None`: there can be none, which is said once.
    pub(super) fn get(&mut self, source: SocketAddr, now: Instant) -> Option<Rc<ReplySocket>> {
        if let Some(kept) = self.kept.get_mut(&source) {
            if kept.socket.is_some() {
                kept.used = now;
                return kept.socket.clone();
            }
            if now < kept.used + REFUSED {
                return None;
            }
        }
        self.make_room(now);
        let socket = match (self.bind)(&self.outbound, source) {
            Ok(socket) => Some(Rc::new(socket)),
            Err(error) => {
                self.tell(source, &error);
                None
            }
        };
        self.kept.insert(source, KeptSocket { socket: socket.clone(), used: now });
        socket
    }

    /// Closes those that have rested. To be called now and then.
    pub(super) fn expire(&mut self, now: Instant) {
        self.kept.retain(|_, kept| now < kept.used + IDLE);
    }

    fn make_room(&mut self, now: Instant) {
        if self.kept.len() < self.most {
            return;
        }
        self.expire(now);
        // A quarter at a time, so that a crowd of sources does not sort for each of them.
        let mut oldest: Vec<(Instant, SocketAddr)> =
            self.kept.iter().map(|(source, kept)| (kept.used, *source)).collect();
        oldest.sort_unstable();
        let surplus = (self.kept.len() + 1 + self.most / 4).saturating_sub(self.most);
        for (_, source) in oldest.into_iter().take(surplus) {
            self.kept.remove(&source);
        }
    }

    fn tell(&mut self, source: SocketAddr, error: &io::Error) {
        let is_taken = error.kind() == io::ErrorKind::AddrInUse;
        if is_taken && !std::mem::replace(&mut self.is_told, true) {
            let port = source.port();
            warn!(
                "UDP replies from port {port} of foreign hosts cannot be delivered: a program of \
                 this machine has port {port} on every address (see `ss -ulnp`); let it listen on \
                 one address (this is said once)"
            );
        } else {
            debug!(%source, "no socket for its replies: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::Refusal;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static MADE: AtomicUsize = AtomicUsize::new(0);

    /// Port 9 cannot be had.
    fn bind(_: &Outbound, source: SocketAddr) -> io::Result<ReplySocket> {
        MADE.fetch_add(1, Ordering::Relaxed);
        match source.port() {
            9 => Err(io::ErrorKind::AddrInUse.into()),
            _ => ReplySocket::of_any_address(),
        }
    }

    fn made() -> usize {
        MADE.swap(0, Ordering::Relaxed)
    }

    #[test]
    fn they_are_kept_and_bounded() {
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let mut sockets = ReplySockets::new(outbound, bind, 8);
        let from = |port| SocketAddr::from(([203, 0, 113, 1], port));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for port in 100..108 {
            assert!(sockets.get(from(port), at(port.into())).is_some());
        }
        assert_eq!(made(), 8);
        sockets.get(from(100), at(109));
        assert_eq!(made(), 0);
        sockets.get(from(108), at(110));
        assert!(sockets.kept.len() <= 8);
        assert_eq!(made(), 1);
        sockets.get(from(100), at(111));
        assert_eq!(made(), 0, "used a moment ago");
        sockets.get(from(101), at(112));
        assert_eq!(made(), 1, "used the longest time ago");
        sockets.expire(at(112) + IDLE);
        assert!(sockets.kept.is_empty());

        assert!(sockets.get(from(9), at(0)).is_none());
        assert!(sockets.get(from(9), at(4)).is_none());
        assert_eq!(made(), 1, "not tried again so soon");
        assert!(sockets.get(from(9), at(5)).is_none());
        assert_eq!(made(), 1);
    }
}
