//! From the listener to the sessions.

use super::SharedState;
use super::session::{DatagramSession, begin};
use crate::family::Family;
use crate::fault::{self, Fault};
use crate::net::listen::Errors;
use crate::net::udp::train::{Train, TrainInbox};
use crate::net::udp::transparent::TransparentListener;
use crate::probe;
use crate::sync::lock;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::time::Instant;
use tracing::{debug, error};

/// Takes what the kernel captured. Ends only with the socket.
pub(super) async fn listen(
    shared: Rc<SharedState>,
    listener: TransparentListener,
) -> io::Result<()> {
    let mut errors = Errors::default();
    loop {
        listener.readable().await?;
        let received = listener.receive(&mut shared.inbox.borrow_mut());
        let is_empty = match received {
            Ok(is_empty) => {
                errors.over();
                is_empty
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                errors.after(error, "cannot receive captured datagrams", String::new).await?;
                continue;
            }
        };
        take_all(&shared, &listener, &mut shared.inbox.borrow_mut(), Instant::now());
        if !is_empty {
            // One busy listener must not starve the sessions, which carry the replies.
            tokio::task::yield_now().await;
        }
    }
}

/// Hands what came to the sessions. What goes to one of them in a row leaves together.
fn take_all(
    shared: &Rc<SharedState>,
    listener: &TransparentListener,
    inbox: &mut TrainInbox,
    now: Instant,
) {
    lock(&shared.pace).carried(inbox.datagrams());
    for train in inbox.trains() {
        if fault::is(Fault::UdpHang) && train.is(b"hang") {
            std::thread::sleep(std::time::Duration::MAX);
        }
        if is_health_check(shared, &train) {
            answer(shared, listener, train.peer);
        } else {
            take(shared, train, now);
        }
    }
    shared.flush();
}

/// Hands a train to its session.
pub(super) fn take(shared: &Rc<SharedState>, mut train: Train<'_>, now: Instant) {
    let client = train.peer;
    let stats = &shared.relay.stats.datagrams;
    match train.destination {
        Some(destination) if is_proof(destination) => prove(shared, client, destination, now),
        // It was sent to the listener itself: serving it would make an open proxy.
        None => stats.rejected.add(1),
        Some(destination) if destination.ip().is_loopback() => stats.rejected.add(1),
        Some(destination) if shared.own.borrow().contains(&client) => {
            stats.rejected.add(1);
            if !shared.is_loop_told.replace(true) {
                error!(
                    %destination,
                    "a datagram of snet's own to a proxy came back: some rule overwrites its mark; \
                     exempt marked packets there (this is said once)"
                );
            }
        }
        Some(destination) => {
            let session =
                shared.sessions.borrow_mut().used(client).map(|session| Rc::clone(session));
            let session = session.unwrap_or_else(|| add(shared, client, destination, now));
            shared.fill(&session);
            session.up(shared, destination, &mut train, now);
        }
    }
}

fn add(
    shared: &Rc<SharedState>,
    client: SocketAddr,
    destination: SocketAddr,
    now: Instant,
) -> Rc<DatagramSession> {
    let session = begin(shared, client, destination, now);
    let evicted = shared.sessions.borrow_mut().add(client, Rc::clone(&session));
    if let Some(evicted) = evicted {
        shared.relay.stats.datagrams.evicted.add(1);
        evicted.evict();
    }
    session
}

/// Whether it is the daemon's own question whether the listener answers.
fn is_health_check(shared: &SharedState, train: &Train<'_>) -> bool {
    let is_direct = train.destination.is_some_and(|destination| destination.ip().is_loopback());
    is_direct && train.is(shared.relay.token.text().as_bytes())
}

fn answer(shared: &SharedState, listener: &TransparentListener, client: SocketAddr) {
    if let Err(error) = listener.answer(shared.relay.token.text().as_bytes(), client) {
        debug!(%client, "the health check is not answered: {error}");
    }
}

/// Whether it is the daemon's own question whether datagrams are captured.
fn is_proof(destination: SocketAddr) -> bool {
    destination.port() == probe::UDP_PORT
        && Family::ALL.iter().any(|family| probe::address(*family) == destination.ip())
}

fn prove(shared: &SharedState, client: SocketAddr, asked: SocketAddr, now: Instant) {
    let Some(socket) = shared.replies.borrow_mut().get(asked, now) else { return };
    let token = shared.relay.token.text().as_bytes();
    if let Err(error) = socket.send(token, &[token.len()], client) {
        debug!(%client, "the proof that datagrams are captured is not answered: {error}");
    }
}
