//! 64 MiB and a fifth of a core, as the smallest routers have: the daemon carries what such a
//! machine is for, sheds what is too much, and never dies.

use crate::client::try_connect;
use crate::counters::Counters;
use crate::datagrams::talker::Talker;
use crate::peer::{names, service};
use crate::question::{query, read};
use crate::snet::{self, Config, DNS_PORT, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{FAMILIES, FOREIGN_SITE, Family, sealed};
use snet_lab::small_machine::SmallMachine;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

const MEMORY: u64 = 64 << 20;

/// Of a core, in hundredths.
const PERCENT: u64 = 20;

/// What it carries.
const CONNECTIONS: usize = 500;
const SESSIONS: usize = 200;

/// What is asked of it besides. The budget has 1,024 connections and 512 sessions.
const MORE_CONNECTIONS: usize = 2_000;
const MORE_SESSIONS: usize = 1_000;
const NAMES: usize = 10_000;

/// How many of them come at once: twice what may wait.
const NAMES_AT_ONCE: usize = 1_000;

/// Sends [`AHEAD`] bytes to whoever said something, and does not care whether they are read.
const FLOOD: u16 = 7006;
const AHEAD: usize = 256 << 10;

#[test]
fn sixty_four_mebibytes_and_a_slow_core() {
    sealed(|| {
        service::start();
        for family in FAMILIES {
            service::tcp(FOREIGN_SITE.port(family, FLOOD), flood);
        }
        let _names = [names::domestic(), names::trusted()];
        let counters = Counters::start();
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        // A server that is as slow as this test is not down.
        let mut config = Config::through(Family::V4, &[proxy.replace("\"2s\"", "\"30s\"")]);
        config.firewall.push("udp = \"proxy\"".into());
        let mut command = snet::snet(Variant::Native);
        command.arg("-c").arg(config.by(Variant::Native).write());
        let machine = SmallMachine::new(MEMORY, PERCENT);
        let mut snet = machine.within(|| Snet::ready(&mut command));
        let tell = |what: &str, snet: &Snet| {
            let (now, most) = machine.memory();
            println!(
                "{what}: {} KiB of memory, {} at most; {} descriptors",
                now >> 10,
                most >> 10,
                snet.descriptors()
            );
        };
        tell("at rest", &snet);

        let mut open: Vec<_> = (0..CONNECTIONS).filter_map(|n| begin(n, service::ECHO)).collect();
        let talkers: Vec<_> = (0..SESSIONS).map(talker).collect();
        assert_eq!(carried(&mut open, 20_000), CONNECTIONS, "{}", snet.log());
        assert_eq!(answered(&talkers), SESSIONS, "{}", snet.log());
        tell("with all that it is for", &snet);

        // One half is not read, of the other nothing is heard.
        let more: Vec<_> = (0..MORE_CONNECTIONS)
            .filter_map(|n| begin(n, if n % 2 == 0 { service::ECHO } else { FLOOD }))
            .collect();
        assert!(more.len() >= 500 && more.len() < 600, "{} more:\n{}", more.len(), snet.log());
        tell("with too many connections", &snet);
        let others: Vec<_> = (0..MORE_SESSIONS).map(talker).collect();
        let heard = answered(&others);
        assert!(heard > MORE_SESSIONS / 2, "{heard} of {MORE_SESSIONS} sessions");
        tell("and sessions", &snet);
        let [good, failed, silent] = ask();
        println!("names: {good} answered, {failed} failed, {silent} without a word");
        tell("and names", &snet);
        assert_eq!(carried(&mut open, 1_000), CONNECTIONS, "what is open goes on:\n{}", snet.log());
        assert_eq!(machine.killed_for_memory(), 0);
        snet.assert_alive();
        let log = snet.log();
        assert!(log.contains("connections are open of at most 1024"), "{log}");
        assert!(!log.contains("not captured"), "{log}");
        assert_eq!(counters.leaked(), 0, "the rules fell asleep");

        drop((more, others));
        wait::until("all is well", Duration::from_secs(60), || {
            let served = begin(0, service::ECHO).is_some() && talker(0).is_answered(b"after");
            served && snet::dig("foreign.example A +short").contains("203.0.113.10")
        });
        assert_eq!(answered(&talkers), SESSIONS, "{}", snet.log());
        assert_eq!(carried(&mut open, 20_000), CONNECTIONS, "{}", snet.log());
        tell("afterwards", &snet);
        println!("throttled {} times", machine.throttled());
        drop(open);
        snet.stop();
    });
}

/// One of a crowd, of either family, which has heard something. `None`: it was refused.
fn begin(number: usize, port: u16) -> Option<TcpStream> {
    let mut stream = try_connect(FOREIGN_SITE.port(FAMILIES[number / 2 % 2], port)).ok()?;
    stream.write_all(b"hello").ok()?;
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).ok()?;
    Some(stream)
}

fn flood(mut stream: TcpStream) {
    static PIECE: [u8; AHEAD] = [b'x'; AHEAD];
    let _ = stream.read(&mut [0; 16]);
    let _ = stream.write_all(&PIECE);
    let _ = stream.read(&mut [0; 16]);
}

/// Data on all at once; how many have heard it again.
fn carried(open: &mut [TcpStream], bytes: usize) -> usize {
    let text = vec![7; bytes];
    thread::scope(|scope| {
        let parts = open.chunks_mut(125).map(|part| {
            scope.spawn(|| {
                let send = |stream: &mut TcpStream| stream.write_all(&text).is_ok();
                let sent: Vec<_> = part.iter_mut().map(send).collect();
                let mut heard = vec![0; bytes];
                let mut hears = |stream: &mut TcpStream, sent| {
                    sent && stream.read_exact(&mut heard).is_ok() && heard == text
                };
                part.iter_mut()
                    .zip(sent)
                    .filter_map(|(stream, sent)| hears(stream, sent).then_some(()))
                    .count()
            })
        });
        let parts: Vec<_> = parts.collect();
        parts.into_iter().map(|part| part.join().expect("no thread dies")).sum()
    })
}

fn talker(number: usize) -> Talker {
    Talker::to(FOREIGN_SITE.port(FAMILIES[number % 2], service::ECHO))
}

/// All speak at once, and who hears nothing again, as programs do: of a crowd the server's socket
/// may lose some. How many are answered.
fn answered(talkers: &[Talker]) -> usize {
    let mut waiting: Vec<_> = talkers.iter().collect();
    for _ in 0..3 {
        for talker in &waiting {
            talker.send(&[7; 1200]).expect("a captured datagram leaves");
        }
        waiting.retain(|talker| talker.socket.recv(&mut [0; 1500]).is_err());
    }
    talkers.len() - waiting.len()
}

/// Names that nobody knows, many at a time: answered well, failed, and without a word.
fn ask() -> [usize; 3] {
    let resolver: SocketAddr = ([127, 0, 0, 1], DNS_PORT).into();
    let mut counts = [0, 0, NAMES];
    for round in 0..NAMES / NAMES_AT_ONCE {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
        for number in 0..NAMES_AT_ONCE {
            let name = format!("n{round}-{number}.example");
            let id = u16::try_from(number).expect("few at a time");
            socket.send_to(&query(id, &name, 1), resolver).expect("loopback takes it");
        }
        let mut answer = [0; 600];
        while let Ok(length) = socket.recv(&mut answer) {
            counts[if read(&answer[..length]).code == 2 { 1 } else { 0 }] += 1;
            counts[2] -= 1;
        }
    }
    counts
}
