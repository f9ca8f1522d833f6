//! What flows when: the design's table, row by row, in both families and with every backend. What
//! must not happen is counted by the kernel.

use crate::client::{ask, connect, echo, try_connect};
use crate::counters::Counters;
use crate::peer::{names, service};
use crate::process::{Running, finish};
use crate::snet::{self, Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{BLOCKED_SITE, DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, Host, sealed_for};
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

in_every_variant!(what_flows_when);

/// The way of a connection, or what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    Proxied,
    Refused,
    /// Nothing comes back, and nothing has left.
    Lost,
}

/// Whose answer a name gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// That of the server that was asked: snet is not there.
    Asked,
    /// The true one, by snet.
    Snets,
    Error,
}

/// A row of the table, less the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    foreign: Way,
    domestic: Way,
    domestic_name: Answer,
    foreign_name: Answer,
    foreign_quic: Way,
    other_udp: Way,
}

/// As if snet were not there.
const ABSENT: Row = Row {
    foreign: Way::Direct,
    domestic: Way::Direct,
    domestic_name: Answer::Asked,
    foreign_name: Answer::Asked,
    foreign_quic: Way::Direct,
    other_udp: Way::Direct,
};

const RUNNING: Row = Row {
    foreign: Way::Proxied,
    domestic: Way::Direct,
    domestic_name: Answer::Snets,
    foreign_name: Answer::Snets,
    foreign_quic: Way::Refused,
    other_udp: Way::Proxied,
};

/// The foreign name was answered before: its stale answer is better than none.
const PROXY_DOWN: Row = Row { foreign: Way::Refused, other_udp: Way::Lost, ..RUNNING };

fn what_flows_when(variant: Variant) {
    let state = State::begin();
    state.is("not started", ABSENT);
    let mut before = Open::here();

    let (proxy, line) = Upstream::Rust("aes-256-gcm").start(Family::V4);
    let file = Config::through(Family::V4, &[line]).by(variant).write();
    let daemon = |when: &str| {
        println!("{when}");
        Snet::ready(snet::snet(variant).arg("-c").arg(&file))
    };
    let snet = daemon("first");
    state.is("running", RUNNING);
    let mut during = Open::here();
    before.lives("running");

    for round in 0..5 {
        snet.signal(Signal::SIGHUP);
        state.is("reloading", RUNNING);
        assert!(finish(snet::snet(variant).arg("reload")).status.success(), "round {round}");
    }
    before.lives("reloaded");
    during.lives("reloaded");
    snet.stop();
    // What was captured is cut by a stop that has waited; what was direct is not snet's.
    state.is("stopped", ABSENT);
    before.lives("stopped");

    let snet = daemon("second");
    let mut during = Open::here();
    snet.signal(Signal::SIGSTOP);
    state.becomes("hung", ABSENT, Duration::from_secs(10));
    before.lives("hung");
    snet.signal(Signal::SIGCONT);
    state.becomes("awake", RUNNING, Duration::from_secs(10));
    during.lives("after a hang");

    drop(proxy);
    state.becomes("proxy down", PROXY_DOWN, Duration::from_secs(5));
    let unheard_of = state.answer("blocked.example", BLOCKED_SITE, Family::V4);
    assert_eq!(unheard_of, Answer::Error, "a foreign name that nobody has asked for before");
    before.lives("proxy down");

    snet.kill();
    // At once: the kernel removes the table with its owner. Otherwise the rules fall asleep.
    let within =
        if variant == Variant::Native { Duration::from_secs(1) } else { Duration::from_secs(10) };
    state.becomes("killed", ABSENT, within);
    before.lives("killed");
    assert_eq!(snet::run(variant, &["cleanup"]).code(), Some(0));
    state.is("cleaned", ABSENT);
}

/// The little internet, and how to look at it.
struct State {
    counters: Counters,
    _names: [Running; 3],
}

impl State {
    fn begin() -> Self {
        service::start();
        let names = [names::domestic(), names::trusted(), names::system()];
        State { counters: Counters::start(), _names: names }
    }

    fn is(&self, state: &str, expected: Row) {
        for family in FAMILIES {
            assert_eq!(self.look(family), expected, "{state}, {family:?}");
        }
        assert_eq!(self.counters.unmarked(), 0, "{state}: to the proxy only our own sockets go");
    }

    /// Within that time, and then it stays.
    fn becomes(&self, state: &str, expected: Row, within: Duration) {
        wait::until(state, within, || self.way(FOREIGN_SITE, Family::V4) == expected.foreign);
        // Each family has a switch of its own, and each its half second.
        wait::until(state, Duration::from_secs(1), || {
            self.way(FOREIGN_SITE, Family::V6) == expected.foreign
        });
        self.is(state, expected);
    }

    fn look(&self, family: Family) -> Row {
        let udp = |host: Host, port| {
            let gone = self.counters.leaked();
            let answer = ask(host.port(family, port)).map_err(|error| error.kind());
            match (answer, self.counters.leaked() > gone) {
                (Ok(()), true) => Way::Direct,
                (Ok(()), false) => Way::Proxied,
                (Err(ErrorKind::ConnectionRefused), false) => Way::Refused,
                (Err(ErrorKind::WouldBlock), false) => Way::Lost,
                other => panic!("a datagram to {host:?}: answered, left directly: {other:?}"),
            }
        };
        Row {
            foreign: self.way(FOREIGN_SITE, family),
            domestic: self.way(DOMESTIC_SITE, family),
            domestic_name: self.answer("domestic.example", DOMESTIC_SITE, family),
            foreign_name: self.answer("foreign.example", FOREIGN_SITE, family),
            foreign_quic: udp(FOREIGN_SITE, 443),
            other_udp: udp(FOREIGN_SITE, service::ECHO),
        }
    }

    /// The way of a connection that begins now, by the kernel's counters.
    fn way(&self, site: Host, family: Family) -> Way {
        let direct = || match site == FOREIGN_SITE {
            true => self.counters.leaked(),
            false => self.counters.domestic(),
        };
        let (captured, gone) = (self.counters.captured(), direct());
        let result = try_connect(site.port(family, service::ECHO)).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            echo(&mut stream, b"hello")
        });
        match (result.is_ok(), self.counters.captured() > captured, direct() > gone) {
            (true, false, true) => Way::Direct,
            (true, true, false) => Way::Proxied,
            (false, _, false) => Way::Refused,
            other => panic!("{site:?} {family:?}: reached, captured, left directly: {other:?}"),
        }
    }

    fn answer(&self, name: &str, site: Host, family: Family) -> Answer {
        let kind = if family == Family::V4 { "A" } else { "AAAA" };
        let said = dig(&format!("+short {kind} {name}"));
        match said.trim() {
            said if said == names::OLD.ip(family).to_string() => Answer::Asked,
            said if said == site.ip(family).to_string() => Answer::Snets,
            "" => Answer::Error,
            other => panic!("{name}: {other}"),
        }
    }
}

/// Connections that were opened in one state and shall live through the next ones.
struct Open(Vec<TcpStream>);

impl Open {
    fn here() -> Self {
        let sites = FAMILIES.into_iter().flat_map(|family| {
            [FOREIGN_SITE, DOMESTIC_SITE].map(|site| site.port(family, service::ECHO))
        });
        let mut open = Open(sites.map(connect).collect());
        // Through the whole way: a connection that the daemon has yet to dial is not open.
        open.lives("here");
        open
    }

    fn lives(&mut self, state: &str) {
        for stream in &mut self.0 {
            let to = stream.peer_addr().expect("a peer");
            echo(stream, b"still there?").unwrap_or_else(|error| panic!("{state}: {to}: {error}"));
        }
    }
}
