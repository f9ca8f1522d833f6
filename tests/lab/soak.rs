//! A soak: very many connections of every kind, several at a time. Descriptors, pipes and memory
//! are as they were, and peers that were killed leave nothing behind.
//!
//! `SNET_SOAK=200000 cargo test --release --test lab soak -- --nocapture` is the long one, and says
//! what it counted.

use crate::client::{echo, try_connect};
use crate::peer::service;
use crate::snet::{Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{FOREIGN_SITE, Family, sealed};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

const USUAL: usize = 4_000;
const AT_A_TIME: usize = 8;

/// In how many parts; the proxy server is killed in the middle of each.
const PARTS: usize = 4;

/// What memory may grow by after the first part, in KiB.
const GROWTH: u64 = 4096;

#[test]
fn soak_through_shadowsocks() {
    sealed(|| soak(Upstream::Libev("aes-256-gcm")));
}

#[test]
fn soak_through_http() {
    sealed(|| soak(Upstream::Tinyproxy));
}

fn soak(upstream: Upstream) {
    let count = std::env::var("SNET_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(USUAL);
    service::start();
    let (mut server, proxy) = upstream.start(Family::V4);
    let mut snet = Snet::start(Variant::Nft, &Config::through(Family::V4, &[proxy]));
    let resting = snet.descriptors();
    let (began, mut first) = (Instant::now(), None);
    for part in 1..=PARTS {
        let good = AtomicUsize::new(0);
        run(count / PARTS / 2, &good);
        assert!(good.load(Ordering::Relaxed) > 0, "nothing was carried");
        // With connections open.
        let held: Vec<TcpStream> = (0..50).filter_map(|n| begin(n).ok()).collect();
        drop(server);
        run(AT_A_TIME, &AtomicUsize::new(0));
        server = upstream.start(Family::V4).0;
        drop(held);
        run(count / PARTS / 2, &good);
        snet.assert_alive();
        snet.wait_for_descriptors(resting + 2 * AT_A_TIME);
        let now = snet.memory();
        println!(
            "soak: {part}/{PARTS} after {:.0} s: {} of {} were carried, {} descriptors, {} pipe \
             ends, {now} KiB",
            began.elapsed().as_secs_f32(),
            good.load(Ordering::Relaxed),
            count / PARTS,
            snet.descriptors(),
            pipe_ends(&snet),
        );
        let first = *first.get_or_insert(now);
        assert!(now < first + GROWTH, "memory grew from {first} to {now} KiB");
    }
    snet.stop();
}

/// Runs so many connections.
fn run(count: usize, good: &AtomicUsize) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    if behave(number).is_ok() {
                        good.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

fn to(port: u16) -> io::Result<TcpStream> {
    try_connect(FOREIGN_SITE.port(Family::V4, port))
}

/// One that has said and heard something.
fn begin(number: usize) -> io::Result<TcpStream> {
    let mut stream = to(service::ECHO)?;
    echo(&mut stream, &number.to_be_bytes())?;
    Ok(stream)
}

/// One connection, of the kind that its number says.
fn behave(number: usize) -> io::Result<()> {
    match number % 16 {
        0..8 => begin(number).map(drop),
        // Half-closed; ss-server and tinyproxy may close both.
        8 | 9 => {
            let stream = begin(number)?;
            stream.shutdown(Shutdown::Write)?;
            (&stream).read_to_end(&mut Vec::new()).map(drop)
        }
        // Closed with bytes unread: a reset.
        10 | 11 => {
            let mut stream = to(service::ECHO)?;
            stream.write_all(&[7; 20_000])?;
            stream.read_exact(&mut [0; 100])
        }
        // Reset by the other side.
        12 => {
            let mut stream = to(service::RESET)?;
            stream.write_all(b"hello")?;
            // Whether it ends in an error or not is for other tests.
            let _ = stream.read(&mut [0; 64]);
            Ok(())
        }
        // Says nothing and goes.
        13 => to(service::ECHO).map(drop),
        // Hears first.
        14 => to(service::GREET)?.read_exact(&mut [0; service::GREETING.len()]),
        // Bulk.
        _ => echo(&mut to(service::ECHO)?, &vec![number as u8; 30_000]),
    }
}

fn pipe_ends(snet: &Snet) -> usize {
    let folder = fs::read_dir(format!("/proc/{}/fd", snet.pid())).expect("it runs");
    let link = |entry: io::Result<fs::DirEntry>| fs::read_link(entry.ok()?.path()).ok();
    folder.filter_map(link).filter(|to| to.to_string_lossy().starts_with("pipe:")).count()
}
