//! Connections of HTTP/2 that are kept, so that a dial is one stream more and not one handshake
//! more.
//!
//! Theory of operation. A connection carries as many tunnels as its windows allow ([`Windows`]; 64
//! at most), or the server if that is less: they share one TCP connection, and a packet that is
//! lost stops all of them. When all that are kept are full, one more is opened; so mostly there are
//! one or two. One without tunnels is closed after [`REST`], and none gets a new one on another
//! network.
//!
//! A connection may have died without a sign. One that has not opened a tunnel for a while, or is
//! slow to, is asked by PING (RFC 9113, 6.7). While nothing at all comes from it, dials go
//! elsewhere, those that wait too; its tunnels are cut only much later. For an answer may be late
//! because what a tunnel uploads stands before the question, in the buffers of a slow path.

use super::heard::Heard;
use super::windows::{CONNECTION, Windows};
use crate::net;
use crate::sync::AtomicU64;
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use std::fmt;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::client::TlsStream;

/// Bytes of a stream that wait for the connection to send them.
const UNSENT: usize = 32 * 1024;

/// Bytes of an answer's header (RFC 9113, 6.5.2), as over HTTP/1.1.
const LONGEST_HEADER: u32 = 16 * 1024;

/// How long a connection without tunnels is kept, and how often that is looked at.
const REST: Duration = Duration::from_secs(120);
const LOOKS: u32 = 12;

/// After so long without a new tunnel a connection has to prove that it lives.
const QUIET: Duration = Duration::from_secs(10);

/// An answer that takes longer may never come.
const SLOW: Duration = Duration::from_secs(1);

/// How long nothing may come after a PING until dials go elsewhere, and until the connection is
/// given up; how often that is looked at.
const PONG: Duration = Duration::from_secs(2);
const DEAD: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(500);

/// The windows are announced again after so long, where the server had not heard of the last ones.
const AGAIN: Duration = Duration::from_millis(50);

/// Called when a connection opens no more tunnels: another one is needed.
pub(super) type OnLeave = Box<dyn Fn() + Send + Sync>;

/// A tunnel's place on a connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<KeptState>);

impl Place {
    /// Those of the connection.
    pub(super) fn windows(&self) -> &Windows {
        &self.0.windows
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.windows.give_back();
    }
}

/// A connection that is kept.
#[derive(Clone)]
pub(super) struct KeptConnection {
    pub(super) client: SendRequest<Bytes>,
    shared: Arc<KeptState>,
}

/// What its dials, its tunnels and its task share.
#[derive(Debug)]
struct KeptState {
    windows: Windows,
    /// It opens no more tunnels.
    is_retired: AtomicBool,
    opened: Mutex<Instant>,
    doubted: Notify,
    /// Whether nothing comes from it.
    is_silent: watch::Sender<bool>,
    /// Bytes that came from it.
    heard: Arc<AtomicU64>,
}

impl KeptConnection {
    /// Makes HTTP/2 of a connection and leaves it to a task of its own.
    pub(super) async fn begin(
        tls: TlsStream<TcpStream>,
        runtime: &tokio::runtime::Handle,
        on_leave: OnLeave,
    ) -> Result<Self, h2::Error> {
        net::send_late(tls.get_ref().0);
        KeptConnection::over(tls, runtime, on_leave).await
    }

    async fn over<S>(
        stream: S,
        runtime: &tokio::runtime::Handle,
        on_leave: OnLeave,
    ) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Arc::new(KeptState {
            windows: Windows::new(),
            is_retired: AtomicBool::new(false),
            opened: Mutex::new(Instant::now()),
            doubted: Notify::new(),
            is_silent: watch::Sender::new(false),
            heard: Arc::default(),
        });
        let (client, connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(shared.windows.size())
            .initial_connection_window_size(CONNECTION)
            .max_send_buffer_size(UNSENT)
            .max_header_list_size(LONGEST_HEADER)
            .handshake(Heard::new(stream, Arc::clone(&shared.heard)))
            .await?;
        runtime.spawn(drive(connection, client.clone(), Arc::clone(&shared), on_leave));
        Ok(KeptConnection { client, shared })
    }

    /// A place for one more tunnel, if there is one.
    pub(super) fn place(&self) -> Option<Place> {
        let is_taken =
            self.is_usable() && self.shared.windows.take(self.client.current_max_send_streams());
        is_taken.then(|| Place(Arc::clone(&self.shared)))
    }

    /// Whether it has room for so many more that the next ones are not looked for yet.
    fn has_room(&self) -> bool {
        self.is_usable() && self.shared.windows.has_room(self.client.current_max_send_streams())
    }

    fn is_usable(&self) -> bool {
        !self.shared.is_retired.load(Ordering::Relaxed)
    }

    /// It opens no more tunnels; those that it has go on.
    pub(super) fn retire(&self) {
        self.shared.retire();
    }

    /// Whether an answer has come over it that is not old: it surely lives.
    pub(super) fn is_fresh(&self) -> bool {
        crate::sync::lock(&self.shared.opened).elapsed() <= QUIET
    }

    /// Has it prove that it lives, if it is long since it did.
    pub(super) fn begin_tunnel(&self) {
        if !self.is_fresh() {
            self.shared.doubted.notify_one();
        }
    }

    /// Waits until the connection is known to be silent; has that looked at when it takes long.
    pub(super) async fn silence(&self) {
        let mut is_silent = self.shared.is_silent.subscribe();
        let mut silence = pin!(is_silent.wait_for(|is_silent| *is_silent));
        tokio::select! {
            _ = &mut silence => return,
            () = sleep(SLOW) => self.shared.doubted.notify_one(),
        }
        // Its sender lives as long as this does.
        let _ = silence.await;
    }

    /// The server has answered.
    pub(super) fn heard(&self) {
        *crate::sync::lock(&self.shared.opened) = Instant::now();
    }
}

impl KeptState {
    /// It opens no more tunnels, and nobody wanted that.
    fn leave(&self, on_leave: &OnLeave) {
        if !self.is_retired.swap(true, Ordering::Relaxed) {
            on_leave();
        }
    }

    fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    fn is_unused(&self) -> bool {
        self.windows.tunnels() == 0
    }
}

impl fmt::Debug for KeptConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptConnection").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// Runs a connection to its end, or until it is dead or has rested long enough. As soon as it opens
/// no more tunnels another one is looked for.
async fn drive<S>(
    mut connection: Connection<Heard<S>, Bytes>,
    mut client: SendRequest<Bytes>,
    shared: Arc<KeptState>,
    on_leave: OnLeave,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let pings = connection.ping_pong();
    let mut death = pin!(death(pings, &shared, &on_leave));
    let mut rest = pin!(rest(&shared));
    let mut is_announced = true;
    loop {
        let announcing = async {
            match is_announced {
                true => shared.windows.growth().await,
                false => sleep(AGAIN).await,
            }
        };
        // What comes wakes this task: so GOAWAY is seen when it comes, not by the next dial.
        let ending = poll_fn(|cx| {
            let ended = Pin::new(&mut connection).poll(cx).is_ready();
            if ended || matches!(client.poll_ready(cx), Poll::Ready(Err(_))) {
                shared.leave(&on_leave);
            }
            if ended { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            () = ending => break,
            () = &mut death => break,
            () = &mut rest => break,
            () = announcing => {
                let size = shared.windows.size();
                is_announced = connection.set_initial_window_size(size).is_ok();
            }
        }
    }
    shared.leave(&on_leave);
}

/// Ends when nothing has come for long after a PING. The first one is sent at once: it measures
/// the round trip.
async fn death(pings: Option<PingPong>, shared: &KeptState, on_leave: &OnLeave) {
    let Some(mut pings) = pings else { return pending().await };
    loop {
        let asked = Instant::now();
        let mut pong = pin!(pings.ping(Ping::opaque()));
        let mut heard = shared.heard.load(Ordering::Relaxed);
        let mut silent = Duration::ZERO;
        loop {
            match timeout(STEP, &mut pong).await {
                Ok(Ok(_)) => break shared.windows.measured(asked.elapsed()),
                Ok(Err(_)) => return,
                Err(_) => {}
            }
            let now = shared.heard.load(Ordering::Relaxed);
            silent = if now == heard { silent + STEP } else { Duration::ZERO };
            heard = now;
            if silent >= PONG {
                shared.leave(on_leave);
                shared.is_silent.send_replace(true);
            }
            if silent >= DEAD {
                return;
            }
        }
        shared.is_silent.send_replace(false);
        shared.doubted.notified().await;
    }
}

/// Ends when there has been no tunnel for long enough, or there will be none.
async fn rest(shared: &KeptState) {
    let mut unused = 0;
    while unused < LOOKS {
        sleep(REST / LOOKS).await;
        unused = if shared.is_unused() { unused + 1 } else { 0 };
        if unused > 0 && shared.is_retired.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// The connections that are kept to one server.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<KeptConnection>>);

impl Kept {
    /// One with a place for one more tunnel, the oldest first: so the younger ones come to rest.
    pub(super) fn with_place(&self) -> Option<(KeptConnection, Place)> {
        let mut kept = crate::sync::lock(&self.0);
        kept.retain(KeptConnection::is_usable);
        kept.iter().find_map(|connection| Some((connection.clone(), connection.place()?)))
    }

    /// Whether they have room for so many more that no further one is looked for yet.
    pub(super) fn has_room(&self) -> bool {
        crate::sync::lock(&self.0).iter().any(KeptConnection::has_room)
    }

    pub(super) fn keep(&self, connection: KeptConnection) {
        crate::sync::lock(&self.0).push(connection);
    }

    /// None of them opens one more tunnel.
    pub(super) fn retire_all(&self) {
        crate::sync::lock(&self.0).drain(..).for_each(|connection| connection.retire());
    }
}

/// What broke a tunnel, as a connection of its own would say it.
pub(super) fn cut(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// Frames of nothing: SETTINGS, and a PING that wants an answer (RFC 9113, 6.5 and 6.7).
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    /// A connection with one tunnel to a server that answers no PING.
    async fn unanswered() -> (KeptConnection, Place, DuplexStream) {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(&SETTINGS).await.unwrap();
        let runtime = tokio::runtime::Handle::current();
        let connection = KeptConnection::over(near, &runtime, Box::new(|| {})).await.unwrap();
        let place = connection.place().unwrap();
        (connection, place, far)
    }

    async fn reads_all(mut far: DuplexStream) -> Duration {
        let began = Instant::now();
        let _ = far.read_to_end(&mut Vec::new()).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_left_soon_and_cut_late() {
        let (connection, _place, far) = unanswered().await;
        let began = Instant::now();
        let cut = tokio::spawn(reads_all(far));
        connection.silence().await;
        assert!(began.elapsed() <= PONG + 2 * STEP, "{:?}", began.elapsed());
        assert!(connection.place().is_none());
        assert!(cut.await.unwrap() >= DEAD);
    }

    /// What a tunnel uploads stands before the PING.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_only_answers_late_is_not_cut() {
        let (connection, _place, mut far) = unanswered().await;
        for _ in 0..60 {
            sleep(Duration::from_secs(1)).await;
            far.write_all(&PING).await.expect("it is not cut");
        }
        assert!(connection.place().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_tunnels_comes_to_rest() {
        for is_retired in [false, true] {
            let (connection, place, mut far) = unanswered().await;
            if is_retired {
                connection.retire();
            }
            let talking = tokio::spawn(async move {
                let began = Instant::now();
                while far.write_all(&PING).await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
                began.elapsed()
            });
            sleep(Duration::from_secs(200)).await;
            assert!(!talking.is_finished(), "it has a tunnel");
            drop(place);
            let rested = talking.await.unwrap() - Duration::from_secs(200);
            let most = if is_retired { REST / LOOKS } else { REST };
            assert!(rested <= most + Duration::from_secs(12), "{rested:?}");
            assert!(is_retired || rested >= REST / LOOKS * (LOOKS - 1), "{rested:?}");
        }
    }
}
