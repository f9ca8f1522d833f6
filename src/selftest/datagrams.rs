//! The trials of foreign UDP: programs whose sockets talk to several hosts, as calls and games do.
#![expect(clippy::disallowed_methods, reason = "plays programs, whose sockets carry no mark")]

use super::client::in_words;
use super::daemon::{self, cannot_capture_datagrams};
use super::table::{Row, TrialTable};
use super::world::{self, ProxyHost, at};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// For an answer that must come. Both ends are on this machine, but a neighbour that missed the
/// first solicitation is asked again after a second only (RFC 4861, RETRANS_TIMER), and a virtual
/// machine may stand still for as long.
const PATIENCE: Duration = Duration::from_secs(4);

/// For an answer that a dead proxy, or one without UDP, does not give.
const SILENCE: Duration = Duration::from_secs(1);

/// Of a kernel without TPROXY or policy routing.
const NO_CAPTURE: &str = "no capture of UDP";

/// So many datagrams are sent on a flow that shall lose none.
const SEVERAL: usize = 10;

/// The two hosts of one family that a program talks to.
#[derive(Clone, Copy, Debug)]
struct Peers {
    first: SocketAddr,
    second: SocketAddr,
    family: &'static str,
    /// Behind the name of a row.
    suffix: &'static str,
}

const PEERS: [Peers; 2] = [
    Peers {
        first: SocketAddr::new(IpAddr::V4(world::FOREIGN), world::CALL),
        second: SocketAddr::new(IpAddr::V4(world::FOREIGN_TWIN), world::OTHER_CALL),
        family: "IPv4",
        suffix: "",
    },
    Peers {
        first: SocketAddr::new(IpAddr::V6(world::FOREIGN_V6), world::CALL),
        second: SocketAddr::new(IpAddr::V6(world::FOREIGN_TWIN_V6), world::OTHER_CALL),
        family: "IPv6",
        suffix: ", IPv6",
    },
];

/// What a peer says: the way that the question took, and which client it saw.
#[derive(Debug, PartialEq, Eq)]
struct HeardCall {
    from: SocketAddr,
    way: String,
    client: String,
}

/// A program's socket.
#[derive(Debug)]
struct Caller(UdpSocket);

/// Programs that talk before the daemon starts, and while it runs.
#[derive(Debug)]
pub(super) struct DatagramTrials {
    older: Vec<(Peers, Caller)>,
}

/// Keeps the older flows busy while the daemon starts; where conntrack tells it nothing of them, it
/// learns of them so.
#[derive(Debug)]
pub(super) struct BusyFlows {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl BusyFlows {
    /// Stops them.
    pub(super) fn rest(self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic there would be one of the trial below.
        let _ = self.thread.join();
    }
}

impl DatagramTrials {
    /// Begins the flows that are older than the daemon.
    pub(super) fn begin(table: &mut TrialTable, has_ipv6: bool) -> io::Result<Self> {
        let families = if has_ipv6 { &PEERS[..] } else { &PEERS[..1] };
        let mut older = Vec::new();
        for peers in families {
            let caller = Caller::new(peers.first)?;
            let row = format!("no daemon: foreign UDP{}", peers.suffix);
            table.add(Row::compare(&row, "direct", &caller.try_way(peers.first)));
            older.push((*peers, caller));
        }
        Ok(DatagramTrials { older })
    }

    /// Lets the older flows talk ten times a second, as a call does at the least.
    pub(super) fn talk(&self) -> io::Result<BusyFlows> {
        let stop = Arc::new(AtomicBool::new(false));
        let callers = self.older.iter();
        let callers = callers.map(|(peers, caller)| Ok((peers.first, caller.0.try_clone()?)));
        let callers = callers.collect::<io::Result<Vec<_>>>()?;
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for (peer, socket) in &callers {
                    let heard = socket.send_to(b"who am I", peer);
                    // An answer that is lost shows when the flow is judged.
                    let _ = heard.and_then(|_| socket.recv_from(&mut [0; 200]));
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        Ok(BusyFlows { stop, thread })
    }

    /// New flows, while the daemon runs. It has said what this kernel cannot do.
    pub(super) fn running(&self, table: &mut TrialTable, no_ipv6: &str) -> io::Result<()> {
        let rows = ["foreign UDP", "UDP: one address for all peers", "UDP: a stranger's datagram"];
        let log = daemon::log();
        for peers in &PEERS {
            let lacks = match self.older.iter().any(|(own, _)| own.family == peers.family) {
                false => Some(no_ipv6),
                true => cannot_capture_datagrams(&log, peers.family).then_some(NO_CAPTURE),
            };
            let row = |index: usize| format!("{}{}", rows[index], peers.suffix);
            if let Some(lacks) = lacks {
                (0..rows.len()).for_each(|index| table.add(Row::skipped(&row(index), lacks)));
                continue;
            }
            let caller = Caller::new(peers.first)?;
            table.add(Row::compare(&row(0), "proxied", &caller.try_way(peers.first)));
            table.add(Row::compare(&row(1), "the same client", &caller.try_mapping(*peers)));
            let caller = Caller::new(peers.first)?;
            table.add(Row::compare(&row(2), "comes in", &caller.try_filtering(*peers)));
        }
        Ok(())
    }

    /// The proxies in front of this one are down.
    pub(super) fn through(&self, table: &mut TrialTable, proxy: ProxyHost) -> io::Result<()> {
        let expected = if proxy == ProxyHost::Http { "silence" } else { "proxied" };
        for (peers, _) in &self.older {
            let row = format!("then {}: foreign UDP{}", proxy.title(), peers.suffix);
            if cannot_capture_datagrams(&daemon::log(), peers.family) {
                table.add(Row::skipped(&row, NO_CAPTURE));
                continue;
            }
            // What is sent to a dead proxy is lost, and tells of the death.
            let caller = Caller::new(peers.first)?;
            caller.0.set_read_timeout(Some(SILENCE))?;
            let tries = if expected == "silence" { 1 } else { ProxyHost::ALL.len() };
            let mut ways = (0..tries).map(|_| caller.try_way(peers.first));
            let way = ways.find(|way| way != "silence").unwrap_or_else(|| "silence".into());
            table.add(Row::compare(&row, expected, &way));
        }
        Ok(())
    }

    /// The flows that began before the daemon did: directly, as if it were not there.
    pub(super) fn older(&self, table: &mut TrialTable) {
        for (peers, caller) in &self.older {
            let row = format!("UDP begun before the start{}", peers.suffix);
            let ways: Vec<_> = (0..SEVERAL).map(|_| caller.try_way(peers.first)).collect();
            let other = ways.into_iter().find(|way| way != "direct");
            table.add(Row::compare(&row, "direct", &other.unwrap_or_else(|| "direct".into())));
        }
    }

    /// A new flow, after the stop.
    pub(super) fn stopped(&self, table: &mut TrialTable) -> io::Result<()> {
        for (peers, _) in &self.older {
            let row = format!("stopped: foreign UDP{}", peers.suffix);
            let way = Caller::new(peers.first)?.try_way(peers.first);
            table.add(Row::compare(&row, "direct", &way));
        }
        Ok(())
    }
}

impl Caller {
    fn new(peer: SocketAddr) -> io::Result<Self> {
        let any: IpAddr = match peer {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(at(any, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Caller(socket))
    }

    /// Asks a peer, which answers from the other one if the word is [`world::ELSEWHERE`].
    fn ask(&self, peer: SocketAddr, word: &str) -> io::Result<HeardCall> {
        self.0.send_to(word.as_bytes(), peer)?;
        let mut buffer = [0; 200];
        let (length, from) = self.0.recv_from(&mut buffer)?;
        let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let (way, client) = said.split_once(' ').unwrap_or((&said, ""));
        Ok(HeardCall { from, way: way.into(), client: client.into() })
    }

    fn try_way(&self, peer: SocketAddr) -> String {
        match self.ask(peer, "who am I") {
            Ok(heard) if heard.from != peer => format!("from {}", heard.from),
            Ok(heard) => heard.way,
            Err(error) => in_words(&error),
        }
    }

    /// Endpoint-independent mapping (RFC 4787, 4.1).
    fn try_mapping(&self, Peers { first, second, .. }: Peers) -> String {
        let clients =
            [first, second].map(|peer| self.ask(peer, "who am I").map(|heard| heard.client));
        match clients {
            [Ok(one), Ok(other)] if one == other => "the same client".into(),
            [Ok(one), Ok(other)] => format!("{one} and {other}"),
            [Err(error), _] | [_, Err(error)] => in_words(&error),
        }
    }

    /// Endpoint-independent filtering (RFC 4787, 5): a host that was never asked answers.
    fn try_filtering(&self, Peers { first, second, .. }: Peers) -> String {
        match self.ask(first, world::ELSEWHERE) {
            Ok(heard) if heard.from == second => "comes in".into(),
            Ok(heard) => format!("from {}", heard.from),
            Err(error) => in_words(&error),
        }
    }
}
