//! The trusted side: several servers, seen as one.

use super::edns::EdnsMemory;
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
    edns: Rc<EdnsMemory>,
}

impl TrustedServers {
    /// Servers in order of preference. Runs on the calling thread's `LocalSet`.
    pub(super) fn new(servers: &[NameServer], dialler: &Dialler, edns: Rc<EdnsMemory>) -> Self {
        let servers = servers
            .iter()
            .map(|server| Rc::new(PersistentConnection::new(server.clone(), dialler.clone())));
        TrustedServers { servers: servers.collect(), preferred: Cell::new(0), edns }
    }

    /// The first useful reply. Has no time-out.
    ///
    /// # Errors
    /// No server has one.
    pub(super) async fn ask(&self, query: &Query) -> io::Result<Vec<u8>> {
        let count = self.servers.len();
        let order: Vec<usize> =
            (0..count).map(|number| (self.preferred.get() + number) % count).collect();
        let attempts = order.iter().map(|number| self.attempt(*number, query)).collect();
        let (winner, reply) = first_success(attempts, HEDGE_DELAY).await?;
        self.preferred.set(order[winner]);
        Ok(reply)
    }

    fn attempt(&self, number: usize, query: &Query) -> StaggeredAttempt {
        let (server, query) = (Rc::clone(&self.servers[number]), query.clone());
        let edns = Rc::clone(&self.edns);
        Box::pin(async move {
            let address = server.server().address;
            let asked = edns.ask(address, &query, async |query| server.ask(&query).await);
            useful(asked.await?)
        })
    }
}
