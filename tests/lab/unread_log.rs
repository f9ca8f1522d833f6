//! A log that nobody reads stops nothing: the heartbeat goes on, foreign traffic goes through the
//! proxy, a stop takes seconds, and what was dropped is told once somebody reads again.

use crate::client::{connect, echo};
use crate::counters::Counters;
use crate::peer::connect_proxy::{self, After};
use crate::peer::service;
use crate::process::{Running, terminal};
use crate::question;
use crate::snet::{Config, DNS_PORT, snet};
use crate::tables::{assert_same, snapshot};
use crate::variant::Variant;
use crate::world::{FOREIGN_SITE, Family, sealed_for};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use snet_lab::in_every_variant;
use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Who ought to read.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A pager.
    Pipe,
    /// A terminal on which somebody has pressed Ctrl-S.
    Terminal,
    /// The journal.
    Socket,
}

/// More than a pipe holds, and longer than the rules act without a heartbeat.
const CONNECTIONS: u64 = 600;
const LONG: Duration = Duration::from_secs(9);

/// More than the queue holds.
const QUERIES: u16 = 12_000;

/// Without open connections a stop has little to wait for.
const STOP: Duration = Duration::from_secs(8);

const PATIENCE: u16 = 20_000;

in_every_variant!(a_log_that_nobody_reads);

fn a_log_that_nobody_reads(variant: Variant) {
    service::start();
    let proxy = connect_proxy::start(Family::V4, After::Carry);
    let mut config = Config::through(Family::V4, &[proxy]).by(variant);
    Config::set(&mut config.dns, "log-queries", "true");
    let file = config.write();
    for kind in [Kind::Pipe, Kind::Terminal, Kind::Socket] {
        println!("{kind:?}");
        life(kind, variant, &file);
    }
}

fn life(kind: Kind, variant: Variant, file: &Path) {
    let before = snapshot();
    let counters = Counters::restart();
    let (mut reader, theirs) = Reader::new(kind);
    let mut command = snet(variant);
    let mut daemon = Running::telling("snet", command.arg("-c").arg(file), theirs);
    drop(command);
    reader.until(" ready");
    reader.pause();

    let began = Instant::now();
    let mut count = 0;
    while count < CONNECTIONS || began.elapsed() < LONG {
        visit();
        count += 1;
    }
    println!("{count} connections");
    ask(QUERIES);
    assert_eq!(counters.leaked(), 0, "a log that nobody reads lets traffic out");
    assert_eq!(counters.captured(), count, "{} sent again", counters.repeated());

    reader.resume();
    let said = reader.until("log lines were dropped: nobody read them");
    let line = said.lines().find(|line| line.contains("were dropped")).expect("just seen");
    let number = line.split_whitespace().rev().nth(7).and_then(|word| word.parse::<u64>().ok());
    assert!(number.is_some_and(|number| number > 0), "{line}");
    visit();
    reader.until("closed");

    reader.pause();
    for _ in 0..CONNECTIONS {
        visit();
    }
    assert_eq!(counters.leaked(), 0);
    daemon.signal(Signal::SIGTERM);
    let status = daemon.wait(STOP);
    assert!(status.success(), "{status}");
    assert_same(&before, &snapshot());
}

/// Names that snet answers by itself.
fn ask(count: u16) {
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    for number in 0..count {
        let query = question::query(number, "localhost", question::kind(Family::V4));
        client.send_to(&query, ("127.0.0.1", DNS_PORT)).expect("it listens");
        client.recv(&mut [0; 512]).expect("an answer");
    }
}

fn visit() {
    let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
    echo(&mut stream, b"hello").expect("an echo");
}

/// The other end of the daemon's standard error.
struct Reader {
    kind: Kind,
    end: File,
}

impl Reader {
    /// And the end for the daemon.
    fn new(kind: Kind) -> (Self, OwnedFd) {
        let (end, theirs) = match kind {
            Kind::Pipe => {
                let (ours, theirs) = std::io::pipe().expect("a pipe");
                (ours.into(), theirs.into())
            }
            Kind::Terminal => terminal(),
            Kind::Socket => {
                let (ours, theirs) = UnixStream::pair().expect("sockets");
                (ours.into(), theirs.into())
            }
        };
        (Reader { kind, end: end.into() }, theirs)
    }

    /// Reads until this has come.
    fn until(&mut self, word: &str) -> String {
        let mut said = Vec::new();
        let mut buffer = [0; 65_536];
        loop {
            let mut wanted = [PollFd::new(self.end.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut wanted, PollTimeout::from(PATIENCE)).expect("a wait");
            assert!(ready > 0, "{word:?} does not come: {}", String::from_utf8_lossy(&said));
            let length = self.end.read(&mut buffer).expect("somebody writes");
            said.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8_lossy(&said);
            if text.contains(word) && text.ends_with('\n') {
                return text.into_owned();
            }
        }
    }

    fn pause(&mut self) {
        self.press(b"\x13");
    }

    fn resume(&mut self) {
        self.press(b"\x11");
    }

    /// Only a terminal has keys; the others are just not read.
    fn press(&mut self, key: &[u8]) {
        if let Kind::Terminal = self.kind {
            self.end.write_all(key).expect("a terminal takes keys");
        }
    }
}
