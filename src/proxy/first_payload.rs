//! What a program says before its connection stands.
//!
//! Theory of operation. A dial may send it on before the server has answered, where the protocol
//! frames it apart from the request ([`super::https`]: a stream of HTTP/2). It saves a round trip.
//! It is looked at (recv(2), MSG_PEEK) and stays where it is, so a server that refuses leaves it
//! whole for the next one. It is taken once the tunnel stands.
//!
//! Invariant: no byte of it is acted on twice. Only a dial that runs alone may send it, and once it
//! has, no other dial is made for the program unless the server has refused that one. A dial whose
//! end nobody knows keeps it for good: then the program learns that its connection broke.

use crate::net::{first_bytes, stream};
use crate::sync::lock;
use bytes::Bytes;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpStream;

/// Bytes that are sent ahead at most. A ClientHello has up to two thousand, a request with cookies
/// some thousands.
const MOST: usize = 16 * 1024;

/// Whether the first bytes may leave this way.
pub type MayLeave<'a> = &'a (dyn Fn(&[u8]) -> bool + Sync);

/// The first bytes of a program, whose connection is being dialled.
pub struct FirstPayload<'a> {
    client: &'a TcpStream,
    asks: Option<MayLeave<'a>>,
    state: Mutex<FirstPayloadState>,
    was_looked_at: AtomicBool,
}

#[derive(Debug, PartialEq, Eq)]
enum FirstPayloadState {
    /// No server has any of it, unless it has refused it.
    Whole,
    /// Several dials run: none of them may send it.
    HeldBack,
    /// So many bytes have left, and nobody knows what became of them.
    Out(usize),
    /// The tunnel stands, and these bytes are in it.
    Taken(Vec<u8>),
}

impl<'a> FirstPayload<'a> {
    /// That of the program at the other end.
    pub fn of(client: &'a TcpStream) -> Self {
        let state = Mutex::new(FirstPayloadState::Whole);
        FirstPayload { client, asks: None, state, was_looked_at: AtomicBool::new(false) }
    }

    /// The same, where somebody else has to see it before any of it leaves. If it may not, the
    /// dial goes on without it.
    #[must_use]
    pub fn asking(mut self, asks: MayLeave<'a>) -> Self {
        self.asks = Some(asks);
        self
    }

    /// Waits until the program has said more than so many bytes, and returns what is behind them.
    /// Waits for ever if it says no more.
    pub async fn after(&self, seen: usize) -> Bytes {
        if seen >= MOST {
            return std::future::pending().await;
        }
        // Another dial may have looked before.
        if self.was_looked_at.swap(true, Ordering::Relaxed) && seen == 0 {
            first_bytes::tell_again(self.client);
        }
        let mut there = Bytes::from(first_bytes::more_than(self.client, seen, MOST).await);
        if seen == 0 && self.asks.is_some_and(|may_leave| !may_leave(&there)) {
            return std::future::pending().await;
        }
        there.split_off(seen)
    }

    /// So many bytes more are about to leave. False: they must not.
    pub fn leaves(&self, length: usize) -> bool {
        let mut state = lock(&self.state);
        match &mut *state {
            FirstPayloadState::Whole => *state = FirstPayloadState::Out(length),
            FirstPayloadState::Out(before) => *before += length,
            FirstPayloadState::HeldBack | FirstPayloadState::Taken(_) => return false,
        }
        true
    }

    /// The server has refused it: none of it was passed on.
    pub fn was_refused(&self) {
        let mut state = lock(&self.state);
        if matches!(*state, FirstPayloadState::Out(_)) {
            *state = FirstPayloadState::Whole;
        }
    }

    /// The tunnel stands: what has left is taken from the program.
    pub fn arrived(&self) {
        let mut state = lock(&self.state);
        let FirstPayloadState::Out(length) = *state else { return };
        let mut taken = vec![0; length];
        let mut filled = 0;
        // They were seen there, and nobody else reads. An error stays for the relay to find.
        while filled < length
            && let Ok(read @ 1..) = stream::read_now(self.client, &mut taken[filled..])
        {
            filled += read;
        }
        *state = FirstPayloadState::Taken(taken);
    }

    /// Another dial is about to run beside one: none sends it from now on. False: one has, so no
    /// other may run.
    pub fn hold_back(&self) -> bool {
        let mut state = lock(&self.state);
        if *state == FirstPayloadState::Whole {
            *state = FirstPayloadState::HeldBack;
        }
        *state == FirstPayloadState::HeldBack
    }

    /// Whether some of it has left with a dial that the server has not refused.
    pub fn is_out(&self) -> bool {
        matches!(*lock(&self.state), FirstPayloadState::Out(_))
    }

    /// What was taken from the program and is on its way. Nothing if the dial sent nothing.
    pub fn into_taken(self) -> Vec<u8> {
        match &mut *lock(&self.state) {
            FirstPayloadState::Taken(taken) => std::mem::take(taken),
            _ => Vec::new(),
        }
    }
}

impl std::fmt::Debug for FirstPayload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FirstPayload({:?})", lock(&self.state))
    }
}

impl Drop for FirstPayload<'_> {
    fn drop(&mut self) {
        if self.was_looked_at.load(Ordering::Relaxed) {
            first_bytes::tell_again(self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Outbound, Refusal, listen};
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Wake, Waker};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    /// A program, and the connection that was accepted from it.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let program = outbound.tcp(&[listener.local_addr().unwrap()]).await.unwrap();
        (program, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn it_stays_until_the_tunnel_stands() {
        let (mut program, mut client) = pair().await;
        let payload = FirstPayload::of(&client);
        program.write_all(b"hello, ").await.unwrap();
        assert_eq!(payload.after(0).await, "hello, ");
        program.write_all(b"world").await.unwrap();
        assert_eq!(payload.after(7).await, "world");
        assert!(payload.leaves(7) && payload.is_out());
        // Refused by one, and sent by the next.
        payload.was_refused();
        assert!(!payload.is_out());
        assert!(payload.leaves(5) && payload.leaves(2));
        payload.arrived();
        assert!(!payload.is_out() && !payload.leaves(1));
        assert_eq!(payload.into_taken(), b"hello, ");
        let mut rest = [0; 5];
        client.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"world");
    }

    #[tokio::test]
    async fn what_may_not_leave_is_kept() {
        for (may_leave, patience) in [(false, 50), (true, 5000)] {
            let (mut program, client) = pair().await;
            let seen = Mutex::new(Vec::new());
            let asks = |first: &[u8]| {
                lock(&seen).extend_from_slice(first);
                may_leave
            };
            let payload = FirstPayload::of(&client).asking(&asks);
            program.write_all(b"hello").await.unwrap();
            let after = timeout(Duration::from_millis(patience), payload.after(0)).await;
            assert_eq!(after.is_ok(), may_leave);
            assert_eq!(*lock(&seen), b"hello");
        }
    }

    /// How often somebody was woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_program_that_says_no_more_is_waited_for_without_work() {
        for ends in [false, true] {
            let (mut program, client) = pair().await;
            let payload = FirstPayload::of(&client);
            program.write_all(b"all").await.unwrap();
            if ends {
                program.shutdown().await.unwrap();
            }
            assert_eq!(payload.after(0).await, "all");
            let wakes = Arc::new(Wakes::default());
            let waker = Waker::from(Arc::clone(&wakes));
            let mut more = pin!(payload.after(3));
            assert!(more.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            assert!(timeout(Duration::from_millis(50), more).await.is_err());
            assert_eq!(wakes.0.load(Ordering::Relaxed), 0, "{ends}");
        }
        let (mut program, client) = pair().await;
        program.write_all(&[7; 2 * MOST]).await.unwrap();
        let payload = FirstPayload::of(&client);
        let mut seen = 0;
        while let Ok(piece) = timeout(Duration::from_millis(50), payload.after(seen)).await {
            seen += piece.len();
        }
        assert_eq!(seen, MOST);
    }

    #[tokio::test]
    async fn of_several_dials_none_sends_it() {
        let (_program, client) = pair().await;
        let payload = FirstPayload::of(&client);
        assert!(payload.hold_back() && payload.hold_back());
        assert!(!payload.leaves(1));
        let payload = FirstPayload::of(&client);
        assert!(payload.leaves(1) && !payload.hold_back());
        payload.was_refused();
        assert!(payload.hold_back());
        assert!(payload.into_taken().is_empty());
    }
}
