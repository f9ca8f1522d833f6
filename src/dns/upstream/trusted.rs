//! The trusted side: several servers, seen as one.

use super::persistent::{Dialler, PersistentConnection};
use super::stagger::{StaggeredAttempt, first_success, useful};
use crate::dns::name_server::NameServer;
use crate::dns::wire::Query;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// The next server is asked beside one that takes so long: longer than a usual way
/// through a proxy around the world, including its dial.
const HEDGE_DELAY: Duration = Duration::from_millis(1200);

/// The trusted servers. The one that answered last is asked first.
#[derive(Debug)]
pub(super) struct TrustedServers {
    servers: Vec<Rc<PersistentConnection>>,
    preferred: Cell<usize>,
}

impl TrustedServers {
    /// Servers in order of preference. Runs on the calling thread's `LocalSet`.
    pub(super) fn new(servers: &[NameServer], dialler: &Dialler) -> Self {
        let servers = servers
            .iter()
            .map(|server| Rc::new(PersistentConnection::new(server.clone(), dialler.clone())));
        TrustedServers { servers: servers.collect(), preferred: Cell::new(0) }
    }

    /// The first useful reply. Has no time-out.
    ///
    /// # Errors
    /// No server has one.
    pub(super) async fn ask(&self, query: &Query) -> io::Result<Vec<u8>> {
        let count = self.servers.len();
        let order: Vec<usize> =
            (0..count).map(|number| (self.preferred.get() + number) % count).collect();
        let attempts = order.iter().map(|number| attempt(&self.servers[*number], query)).collect();
        let (winner, reply) = first_success(attempts, HEDGE_DELAY).await?;
        self.preferred.set(order[winner]);
        Ok(reply)
    }
}

fn attempt(server: &Rc<PersistentConnection>, query: &Query) -> StaggeredAttempt {
    let (server, query) = (Rc::clone(server), query.clone());
    Box::pin(async move { useful(server.ask(&query).await?) })
}
