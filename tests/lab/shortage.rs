//! Out of descriptors, memory, ports: what is open goes on, newcomers fail or wait, and once there
//! is some again everything is as before.

use crate::client::{connect, echo, try_connect};
use crate::counters::Counters;
use crate::peer::{names, service};
use crate::process::{Place, Running, command, sh};
use crate::question::query;
use crate::snet::{self, Config, DNS_PORT, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_NAMES, FOREIGN_SITE, Family, in_internet, sealed};
use nix::sys::signal::Signal;
use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

#[test]
fn without_descriptors_what_is_open_goes_on() {
    sealed(|| {
        beside_an_open_connection(|snet, site, open| {
            // One for the accepted connection, none to dial with; then not even that one.
            for spare in [1, 0] {
                set_limit(snet, snet.descriptors() + spare);
                let newcomers: Vec<_> = (0..20).map(|_| try_connect(site)).collect();
                wait::until("the shortage is told", Duration::from_secs(20), || {
                    let log = snet.log();
                    log.contains("Too many open files")
                        && (spare == 1 || log.contains("cannot accept"))
                });
                echo(open, &[7; 100_000]).expect("what is open goes on");
                drop(newcomers);
                set_limit(snet, 4096);
                is_served(snet, site);
            }
        });
    });
}

/// It was there before the shortage, and nobody blames the proxy for that.
fn beside_an_open_connection(shortage: impl FnOnce(&Snet, SocketAddr, &mut TcpStream)) {
    service::start();
    // It answers the question whether anything comes back through the proxy.
    let _names = names::trusted();
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let mut snet = Snet::start(Variant::Nft, &Config::through(Family::V4, &[proxy]));
    let site = FOREIGN_SITE.port(Family::V4, service::ECHO);
    let mut open = connect(site);
    echo(&mut open, b"before").expect("an echo");
    shortage(&snet, site, &mut open);
    assert!(!snet.log().contains("is down"), "the proxy was blamed:\n{}", snet.log());
    snet.assert_alive();
    snet.stop();
}

/// By snet: if its rules have gone to sleep meanwhile, the site is reached without it.
fn is_served(snet: &Snet, site: SocketAddr) {
    wait::until("newcomers are served again", Duration::from_secs(20), || {
        let known = snet.log().len();
        let echoed = try_connect(site).and_then(|mut stream| echo(&mut stream, b"after"));
        echoed.is_ok()
            && wait::quietly(Duration::from_secs(1), || snet.log()[known..].contains(" closed "))
    });
}

/// What the kernel says when it has nothing left for anybody, in place of the real answer.
#[test]
fn a_shortage_of_the_kernel_passes() {
    sealed(|| {
        beside_an_open_connection(|snet, site, open| {
            for (call, error, told, in_words) in [
                // No shortage, but it stays: nobody may spin on it.
                ("accept4", "EPERM", "cannot accept", "Operation not permitted"),
                ("accept4", "ENFILE", "cannot accept", "Too many open files in system"),
                ("accept4", "ENOBUFS", "cannot accept", "No buffer space available"),
                ("accept4", "ENOMEM", "cannot accept", "Cannot allocate memory"),
                ("epoll_ctl", "ENOSPC", "cannot accept", "No space left on device"),
                ("socket", "ENFILE", "refused", "Too many open files in system"),
                ("socket", "ENOBUFS", "refused", "No buffer space available"),
                ("connect", "EADDRNOTAVAIL", "refused", "Cannot assign requested address"),
            ] {
                let known = snet.log().len();
                let mut strace = answer_instead(snet, call, error);
                let mut newcomers = Vec::new();
                wait::until(&format!("{call}: {error}"), Duration::from_secs(10), || {
                    newcomers.push(try_connect(site));
                    thread::sleep(Duration::from_millis(20));
                    let log = snet.log();
                    let mut lines = log[known..].lines();
                    lines.any(|line| line.contains(told) && line.contains(in_words))
                });
                let used = snet.cpu_ticks();
                thread::sleep(Duration::from_secs(1));
                let used = snet.cpu_ticks() - used;
                assert!(used < 30, "{call}: {error}: {used} ticks of processor time in a second");
                echo(open, &[7; 100_000]).expect("what is open goes on");
                strace.signal(Signal::SIGINT);
                strace.wait(Duration::from_secs(10));
                drop(newcomers);
                is_served(snet, site);
            }
        });
    });
}

/// strace(1) gives this error for every such call, until it is interrupted.
fn answer_instead(snet: &Snet, call: &str, error: &str) -> Running {
    let mut strace = command(Place::Machine, "strace");
    strace.args([
        "-f",
        "-e",
        &format!("trace={call}"),
        "-e",
        &format!("inject={call}:error={error}"),
    ]);
    let strace = Running::start("strace", strace.args(["-p", &snet.pid().to_string()]));
    wait::until("strace is attached", Duration::from_secs(10), || {
        strace.log().contains("attached")
    });
    strace
}

/// prlimit(1): the daemon's soft limit of open files.
fn set_limit(snet: &Snet, files: usize) {
    sh(Place::Machine, &format!("prlimit --pid {} --nofile={files}:", snet.pid()));
}

/// Everything that takes descriptors, at once, where there are few: each part keeps to its own, and
/// the heartbeat finds what it needs.
#[test]
fn no_part_takes_the_descriptors_of_another() {
    const FILES: usize = 256;
    sealed(|| {
        service::start();
        cut_answers(DOMESTIC_NAMES.port(Family::V4, 53));
        let counters = Counters::start();
        let (_server, proxy) = Upstream::Squid.start(Family::V4);
        let mut command = snet::with_files(Variant::Native, FILES);
        let config = Config::through(Family::V4, &[proxy]).by(Variant::Native);
        let mut snet = Snet::ready(command.arg("-c").arg(config.write()));
        let resting = snet.descriptors();
        let resolver: SocketAddr = ([127, 0, 0, 1], DNS_PORT).into();
        // More connections than there may be, half of them with bytes that nobody reads.
        let site = |number: usize| match number % 2 {
            0 => service::ECHO,
            _ => service::LEAVE,
        };
        let mut open: Vec<_> = (0..FILES / 2)
            .map(|number| try_connect(FOREIGN_SITE.port(Family::V4, site(number))))
            .collect();
        open.extend((0..FILES).map(|_| try_connect(resolver)));
        let asking = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let mut most = 0;
        for round in 0..500u16 {
            for number in 0..20 {
                let name = format!("n{round}-{number}.example");
                asking.send_to(&query(number, &name, 1), resolver).expect("loopback takes it");
            }
            thread::sleep(Duration::from_millis(20));
            most = most.max(snet.descriptors());
        }
        println!("{resting} at rest, {most} at most");
        assert!(most > FILES * 3 / 4, "nothing ran short: {most} descriptors");
        let log = snet.log();
        assert!(!log.contains("Too many open files") && !log.contains("does not answer"), "{log}");
        assert_eq!(counters.leaked(), 0, "the rules fell asleep");
        drop(open);
        is_served(&snet, FOREIGN_SITE.port(Family::V4, service::ECHO));
        snet.assert_alive();
        snet.stop();
    });
}

/// A name server whose answers are cut, and that says nothing over TCP.
fn cut_answers(address: SocketAddr) {
    service::tcp(address, |mut stream| {
        drop(stream.read(&mut [0; 4096]).and_then(|_| stream.read(&mut [0])))
    });
    let socket = in_internet(|| UdpSocket::bind(address).expect("the port is free"));
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut query) {
            query[2] |= 0x82;
            let _ = socket.send_to(&query[..length], asker);
        }
    });
}
