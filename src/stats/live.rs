//! What lives: every open connection and UDP session, for those who look (`snet status`, `snet
//! top`, the dashboards).
//!
//! An entry is made when a connection is accepted and goes with it. Nothing is added up here while
//! nobody looks: an entry has its meter, and whoever lists them reads it. An entry costs about 200
//! bytes; most of them would be held by the connection's own task otherwise.

use super::Meter;
use crate::sync::lock;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What an entry stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveKind {
    /// A TCP connection.
    Connection,
    /// The datagrams of one socket of a client.
    Datagrams,
}

/// A connection or a UDP session, from its accept to its end.
#[derive(Debug)]
pub struct LiveFlow {
    /// Never used twice by one process.
    pub id: u64,
    /// What it is.
    pub kind: LiveKind,
    /// The program's address.
    pub client: SocketAddr,
    /// When it was accepted.
    pub began: Instant,
    /// Its bytes by now.
    pub meter: Arc<Meter>,
    destination: OnceLock<SocketAddr>,
    name: OnceLock<Box<str>>,
    way: Mutex<Option<FlowWay>>,
    end: Notify,
    /// It was ended by the operator.
    is_closed: AtomicBool,
}

/// Which way a flow takes, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowWay {
    /// The proxy; `None`: directly.
    pub proxy: Option<Arc<str>>,
    /// The group that the proxy was chosen from, where there are groups.
    pub group: Option<Arc<str>>,
    /// What decided about the destination.
    pub reason: &'static str,
}

impl LiveFlow {
    /// Its destination is known now. What has none is no program's, and is not listed.
    pub fn is_for(&self, destination: SocketAddr) {
        let _ = self.destination.set(destination);
    }

    /// Where the program wants to go.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.destination.get().copied()
    }

    /// By this name the program found it; the first that is told counts.
    pub fn is_named(&self, name: &str) {
        self.name.get_or_init(|| name.into());
    }

    /// The name of its destination, if it is known.
    pub fn name(&self) -> Option<&str> {
        self.name.get().map(|name| &**name)
    }

    /// It stands; the latest way counts.
    pub fn goes(&self, way: FlowWay) {
        *lock(&self.way) = Some(way);
    }

    /// The way it takes; `None` while it is being connected.
    pub fn way(&self) -> Option<FlowWay> {
        lock(&self.way).clone()
    }

    /// Waits until it has to end.
    pub async fn ends(&self) {
        self.end.notified().await;
    }

    /// Whether the operator ended it.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct LiveFlows(Mutex<LiveTable>);

#[derive(Debug, Default)]
struct LiveTable {
    flows: HashMap<u64, Arc<LiveFlow>>,
    last: u64,
    /// Everything has to end, and so has what comes now.
    is_over: bool,
}

impl LiveFlows {
    /// One more of this client. [`leave`](Self::leave) ends it.
    pub fn enter(&self, kind: LiveKind, client: SocketAddr) -> Arc<LiveFlow> {
        let mut table = lock(&self.0);
        table.last += 1;
        let flow = Arc::new(LiveFlow {
            id: table.last,
            kind,
            client,
            began: Instant::now(),
            meter: Arc::default(),
            destination: OnceLock::new(),
            name: OnceLock::new(),
            way: Mutex::default(),
            end: Notify::new(),
            is_closed: AtomicBool::new(false),
        });
        if table.is_over {
            flow.end.notify_one();
        }
        table.flows.insert(flow.id, Arc::clone(&flow));
        flow
    }

    /// It has ended.
    pub fn leave(&self, flow: &LiveFlow) {
        let mut table = lock(&self.0);
        table.flows.remove(&flow.id);
        // What a crowd needed is given back.
        if table.flows.capacity() > 256 && table.flows.len() * 8 < table.flows.capacity() {
            table.flows.shrink_to(64);
        }
    }

    /// All whose destination is known, the oldest first.
    pub fn list(&self) -> Vec<Arc<LiveFlow>> {
        let table = lock(&self.0);
        let known = table.flows.values().filter(|flow| flow.destination.get().is_some());
        let mut flows: Vec<_> = known.cloned().collect();
        drop(table);
        flows.sort_unstable_by_key(|flow| flow.id);
        flows
    }

    /// How many there are of this kind.
    pub fn count(&self, kind: LiveKind) -> usize {
        lock(&self.0).flows.values().filter(|flow| flow.kind == kind).count()
    }

    /// The operator ends this one. False: there is none of this number.
    pub fn close(&self, id: u64) -> bool {
        let flow = lock(&self.0).flows.get(&id).cloned();
        if let Some(flow) = &flow {
            flow.is_closed.store(true, Ordering::Relaxed);
            flow.end.notify_one();
        }
        flow.is_some()
    }

    /// Ends all of them, and whatever comes from now on.
    pub fn end(&self) {
        let mut table = lock(&self.0);
        table.is_over = true;
        table.flows.values().for_each(|flow| flow.end.notify_one());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> SocketAddr {
        "192.0.2.7:40000".parse().unwrap()
    }

    fn is_ending(flow: &LiveFlow) -> bool {
        use std::task::{Context, Poll, Waker};
        let ends = std::pin::pin!(flow.ends());
        ends.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn what_has_no_destination_yet_is_not_listed() {
        let flows = LiveFlows::default();
        let [one, other] = [(); 2].map(|()| flows.enter(LiveKind::Connection, client()));
        other.is_for("203.0.113.1:443".parse().unwrap());
        let listed = flows.list();
        assert_eq!(listed.iter().map(|flow| flow.id).collect::<Vec<_>>(), [other.id]);
        assert_eq!(flows.count(LiveKind::Connection), 2);
        assert_eq!(flows.count(LiveKind::Datagrams), 0);
        flows.leave(&one);
        flows.leave(&other);
        assert!(flows.list().is_empty() && flows.count(LiveKind::Connection) == 0);
    }

    #[test]
    fn one_is_closed_and_no_other() {
        let flows = LiveFlows::default();
        let [one, other] = [(); 2].map(|()| flows.enter(LiveKind::Connection, client()));
        assert!(flows.close(one.id));
        assert!(!flows.close(99), "there is none");
        assert!(is_ending(&one) && one.is_closed());
        assert!(!is_ending(&other) && !other.is_closed());
    }

    #[test]
    fn at_the_end_late_ones_end_too() {
        let flows = LiveFlows::default();
        let early = flows.enter(LiveKind::Datagrams, client());
        flows.end();
        let late = flows.enter(LiveKind::Connection, client());
        assert!(is_ending(&early) && is_ending(&late));
        assert!(!early.is_closed(), "not by the operator");
    }

    #[test]
    fn an_entry_is_small() {
        // With the counters of its reference, and its place in the table.
        let bytes = size_of::<LiveFlow>() + 16 + size_of::<(u64, Arc<LiveFlow>)>();
        assert!(bytes <= 320, "{bytes} bytes");
    }
}
