//! DNS over TCP (RFC 7766) or TLS (RFC 7858) over a connection that stands: queries go out as they
//! come, and replies are matched by number.
//!
//! A server may be slow at one name for longer than a dead connection should go unnoticed. So one
//! that is quiet is asked something that every resolver knows at once; if that is answered it
//! lives, and only the query for the slow name waits. If it is not, the queries are asked over
//! another connection as well, and this one may still answer them.

use super::edns::completed;
use super::message_id::random_id;
use super::request::{ConnectionState, Ended, Unanswered, UpstreamRequest};
use super::tcp::{Incoming, frame};
use crate::dns::reply::Reply;
use crate::dns::wire::{Query, rr, u16_at, upstream_query};
use crate::domain::Name;
use crate::proxy::Stream;
use std::collections::HashMap;
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// An unused connection is closed after this; most servers are faster.
const IDLE: Duration = Duration::from_secs(120);

/// Unanswered queries on one connection. Numbers stay free to choose from.
const MOST_IN_FLIGHT: usize = 4096;

/// Serves requests until the connection is of no more use, or it has answered them and no more will
/// come. Those that are unanswered then are handed back.
pub(super) async fn serve(
    stream: Box<dyn Stream>,
    queue: &mut mpsc::UnboundedReceiver<UpstreamRequest>,
    state: &ConnectionState,
) -> Ended {
    let mut connection = PipelinedConnection {
        stream,
        state,
        incoming: Incoming::default(),
        in_flight: HashMap::new(),
        silence: QuietStage::Usual,
        sent: 0,
        received: 0,
        answered: 0,
    };
    let cause = connection.run(queue).await;
    connection.forget_abandoned();
    let PipelinedConnection { in_flight, sent, received, answered, .. } = connection;
    let left = u32::try_from(in_flight.len()).unwrap_or(u32::MAX);
    for (_, (request, _)) in in_flight {
        // One that does not answer two at a time may answer one.
        request.fail(Unanswered::Ended { useful: answered > 0 || left > 1 });
    }
    Ended { cause, sent, received, answered, left }
}

struct PipelinedConnection<'a> {
    stream: Box<dyn Stream>,
    state: &'a ConnectionState,
    incoming: Incoming,
    in_flight: HashMap<u16, (UpstreamRequest, Instant)>,
    silence: QuietStage,
    /// Bytes, to tell a silent proxy.
    sent: u64,
    received: u64,
    answered: u32,
}

/// What has been done about nothing coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QuietStage {
    Usual,
    /// It was asked whether it lives.
    Asked,
    /// Its queries are asked elsewhere as well.
    Suspected,
}

impl PipelinedConnection<'_> {
    /// Runs until the connection is of no more use, and says why.
    async fn run(&mut self, queue: &mut mpsc::UnboundedReceiver<UpstreamRequest>) -> io::Error {
        let (mut last_word, mut is_last) = (Instant::now(), false);
        loop {
            if is_last && self.in_flight.is_empty() {
                return closed();
            }
            let patience = match (self.silence, self.in_flight.is_empty()) {
                (QuietStage::Suspected, _) => self.state.death(),
                (_, true) => IDLE,
                (QuietStage::Usual, false) => self.state.worry(),
                (QuietStage::Asked, false) => self.state.stall(),
            };
            tokio::select! {
                biased;
                message = self.incoming.next(&mut self.stream) => match message {
                    Ok(Some(message)) => {
                        last_word = Instant::now();
                        self.silence = QuietStage::Usual;
                        self.state.open();
                        self.received += message.len() as u64;
                        self.deliver(message);
                    }
                    Ok(None) => return closed(),
                    Err(error) => return error,
                },
                request = queue.recv(), if !is_last => {
                    let Some(request) = request else {
                        is_last = true;
                        continue;
                    };
                    if self.in_flight.is_empty() {
                        last_word = Instant::now();
                    }
                    if let Err(error) = self.send(request).await {
                        return error;
                    }
                }
                () = sleep_until(last_word + patience) => {
                    let was_waiting = !self.in_flight.is_empty();
                    self.forget_abandoned();
                    let is_suspect = self.silence == QuietStage::Suspected;
                    match (was_waiting, self.in_flight.is_empty()) {
                        _ if is_suspect => return io::ErrorKind::TimedOut.into(),
                        (true, true) => last_word = Instant::now(),
                        (true, false) => if let Err(error) = self.be_suspicious().await {
                            return error;
                        },
                        (false, _) => return io::ErrorKind::TimedOut.into(),
                    }
                }
            }
        }
    }

    /// The next thing to do about silence.
    async fn be_suspicious(&mut self) -> io::Result<()> {
        match self.silence {
            QuietStage::Usual => {
                self.silence = QuietStage::Asked;
                self.write(&upstream_query(&life(), 0)).await
            }
            QuietStage::Asked => {
                self.silence = QuietStage::Suspected;
                self.state.suspect(self.in_flight.values().map(|(request, _)| request.clone()));
                Ok(())
            }
            QuietStage::Suspected => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn send(&mut self, request: UpstreamRequest) -> io::Result<()> {
        if request.is_over() {
            return Ok(());
        }
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            self.forget_abandoned();
        }
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            // Dropping it tells the asker.
            return Ok(());
        }
        let id = loop {
            let id = random_id();
            // 0 is that of the question for life.
            if id != 0 && !self.in_flight.contains_key(&id) {
                break id;
            }
        };
        let message = upstream_query(request.query(), id);
        self.in_flight.insert(id, (request, Instant::now()));
        self.write(&message).await
    }

    async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        let framed = frame(message);
        self.sent += framed.len() as u64;
        let sending = async {
            self.stream.write_all(&framed).await?;
            self.stream.flush().await
        };
        let sent = timeout(self.state.stall(), sending).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// A query that was given up does not need the connection.
    fn forget_abandoned(&mut self) {
        self.in_flight.retain(|_, (request, _)| !request.is_over());
    }

    /// A message that answers no question of ours is dropped.
    fn deliver(&mut self, message: Vec<u8>) {
        let Some(id) = u16_at(&message, 0) else { return };
        let Some((request, _)) = self.in_flight.get(&id) else { return };
        let answer = match Reply::parse(&message) {
            Some(reply) if reply.matches(request.query(), id) => Some(message),
            Some(_) => None,
            None => completed(&message, request.query().question(), id),
        };
        let Some(answer) = answer else { return };
        self.answered = self.answered.saturating_add(1);
        if let Some((request, asked)) = self.in_flight.remove(&id) {
            self.state.took(asked.elapsed());
            request.answer(answer);
        }
    }
}

/// The name servers of the root: what a resolver knows at any moment.
fn life() -> Query {
    Query::new(&Name::root(), rr::NS)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "closed")
}
