//! The rest of the world, in one process: sites, proxies, name servers and a forger.
//!
//! It answers what the trials need to know: a site says which client it sees and how much it got,
//! and the control port counts. One thread; every server is a task.

mod datagrams;
mod forger;
mod proxies;
mod site;
mod socks5;

use super::world;
use super::world::{ProxyHost, at};
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, listen};
use crate::target::Target;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet};

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Connections that came to a proxy.
    proxied: RefCell<HashMap<ProxyHost, u32>>,
    /// Connections and datagrams that reached foreign hosts from the machine's own address.
    direct_foreign: Cell<u32>,
    /// The proxies' listeners, while they run.
    listeners: RefCell<HashMap<&'static str, JoinHandle<()>>>,
}

/// Runs until killed. `ready` is called once everything listens.
pub(super) fn run(has_ipv6: bool, ready: impl FnOnce()) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let tally = Rc::new(Tally::default());
        site::serve_all(&tally, has_ipv6)?;
        for proxy in ProxyHost::ALL {
            proxies::serve(proxy, &tally)?;
        }
        forger::serve_all(&tally)?;
        let control = listen::tcp(at(world::ROUTER, world::CONTROL))?;
        ready();
        loop {
            let (mut stream, _) = control.accept().await?;
            let mut order = [0; 32];
            let length = stream.read(&mut order).await?;
            let answer = tally.obey(&order[..length]).await;
            stream.write_all(answer.as_bytes()).await?;
        }
    })
}

impl Tally {
    /// Switches off the proxy that the control port names, and tells the counters.
    async fn obey(&self, order: &[u8]) -> String {
        let order = String::from_utf8_lossy(order);
        let listener =
            order.strip_suffix(" off").and_then(|proxy| self.listeners.borrow_mut().remove(proxy));
        if let Some(listener) = listener {
            listener.abort();
            // The port is closed once the task is gone, not before: a dial from now on is
            // refused. The task cannot fail otherwise than by being cancelled.
            let _ = listener.await;
        }
        let proxied = self.proxied.borrow();
        let proxied = ProxyHost::ALL.map(|proxy| proxied.get(&proxy).copied().unwrap_or(0));
        let counters = [self.direct_foreign.get()].into_iter().chain(proxied);
        counters.map(|counter| counter.to_string()).collect::<Vec<_>>().join(" ")
    }
}

/// Whether this is the machine itself, and not a proxy on its behalf.
fn is_machine(peer: SocketAddr) -> bool {
    let machine: [IpAddr; 2] = [world::MACHINE.into(), world::MACHINE_V6.into()];
    machine.contains(&peer.ip().to_canonical())
}

fn count(counter: &Cell<u32>) {
    counter.set(counter.get() + 1);
}

/// Connects a proxy to a site.
async fn dial(target: &Target) -> io::Result<TcpStream> {
    let Target::Addr(address) = target else { return Err(io::ErrorKind::Unsupported.into()) };
    Outbound::new(Fwmark::SNET, Refusal::Harmless).tcp(&[*address]).await
}
