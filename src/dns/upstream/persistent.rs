//! One name server, asked over connections that stand (RFC 7766, 6.2.1): DNS over TCP, over TLS
//! (RFC 7858), or over HTTPS (RFC 8484). [`pool`](super::pool) keeps the connections.
//!
//! When a connection ends, or nothing comes over it, the queries it leaves unanswered are handed
//! back; each is asked once more, or more often if the connection had answered something: many
//! servers close after so many queries (RFC 7766, 6.2.3), and with many in flight a query may meet
//! that more than once. One that the server is too busy for is asked again after a moment.

pub(in crate::dns) use super::dial::Dialler;

use super::pool;
use super::request::{Unanswered, UpstreamRequest};
use crate::dns::name_server::NameServer;
use crate::dns::wire::Query;
use crate::task;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// A query is on that many connections that end without a single answer,
const MOST_FRUITLESS: u32 = 2;

/// and on that many in all.
const MOST_TRIES: u32 = 8;

/// How long it waits for a busy server after the second refusal; each time twice as long.
const BUSY: Duration = Duration::from_millis(50);

/// Queries waiting for a connection; more are refused.
const QUEUE: usize = 1024;

/// One name server.
#[derive(Debug)]
pub(in crate::dns) struct PersistentConnection {
    server: NameServer,
    requests: mpsc::Sender<UpstreamRequest>,
}

impl PersistentConnection {
    /// A server; nothing is dialled yet. Runs on the calling thread's `LocalSet`.
    pub(in crate::dns) fn new(server: NameServer, dialler: Dialler) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        task::spawn_local(pool::run(server.clone(), dialler, queue));
        PersistentConnection { server, requests }
    }

    /// Which server.
    pub(in crate::dns) fn server(&self) -> &NameServer {
        &self.server
    }

    /// Asks, and asks again if the connection ends before the reply. Has no time-out.
    ///
    /// # Errors
    /// No connection, too many that ended, or too many queries waiting.
    pub(in crate::dns) async fn ask(&self, query: &Query) -> io::Result<Vec<u8>> {
        let (mut fruitless, mut refusals) = (0, 0);
        for _ in 0..MOST_TRIES {
            let (request, answer) = UpstreamRequest::new(query.clone());
            self.requests.try_send(request).map_err(|_| busy())?;
            match answer.await {
                Ok(Ok(message)) => return Ok(message),
                Ok(Err(Unanswered::Failed(error))) => return Err(error),
                Ok(Err(Unanswered::Busy { cause, most })) => {
                    if refusals >= most {
                        return Err(cause);
                    }
                    if refusals > 0 {
                        sleep(BUSY * (1 << (refusals - 1).min(4))).await;
                    }
                    refusals += 1;
                }
                Ok(Err(Unanswered::Ended { useful: true })) => {}
                Ok(Err(Unanswered::Ended { useful: false })) | Err(_) => fruitless += 1,
            }
            if fruitless >= MOST_FRUITLESS {
                break;
            }
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connections end before the answer"))
    }
}

fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "too many queries wait for the connection")
}
