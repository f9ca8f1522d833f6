//! Every kind of link over loopback: bytes, half-closes both ways, resets from either side.

mod gated;

use super::*;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, listen, reset};
use crate::proxy::shadowsocks::Sealed;
use crate::proxy::shadowsocks::cipher::master_key::MasterKey;
use crate::proxy::shadowsocks::cipher::method::Method;
use crate::proxy::shadowsocks::opener::Opener;
use crate::proxy::shadowsocks::sealer::Sealer;
use crate::proxy::shadowsocks::server::{self, Accepted};
use crate::proxy::{HalfClose, Stream};
use crate::secret::Secret;
use crate::target::Target;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const MANY: usize = 3_000_000;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Plain,
    Sealed(Method),
    Stream,
}

pub(super) const SEALED: Kind = Kind::Sealed(Method::Aes128Gcm);
pub(super) const SEALED_2022: Kind = Kind::Sealed(Method::Blake3Aes256Gcm);

const KINDS: [Kind; 4] = [Kind::Plain, SEALED, SEALED_2022, Kind::Stream];

/// The program, the relay, and the destination's end of the link.
struct Bench {
    program: TcpStream,
    server: Box<dyn Stream>,
    meter: Arc<Meter>,
    relay: JoinHandle<End>,
}

pub(super) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
    let near = outbound.tcp(&[listener.local_addr().unwrap()]).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

pub(super) fn stream(stream: impl Stream + 'static) -> Link {
    Link::Stream { stream: Box::new(stream), half_close: HalfClose::Forwarded }
}

fn key(method: Method) -> MasterKey {
    let password = match method {
        Method::Blake3Aes256Gcm => "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        _ => "secret",
    };
    MasterKey::new(method, &Secret::new(password)).unwrap()
}

fn target() -> Target {
    Target::addr("192.0.2.1:80".parse().unwrap())
}

pub(super) fn seal(tcp: TcpStream, method: Method) -> Sealed {
    let key = key(method);
    let sealer = Sealer::request(&key, &target()).unwrap();
    let opener = Opener::answer(key, &sealer);
    Sealed { tcp, sealer, opener, half_close: HalfClose::Forwarded }
}

/// The destination's end of a link: it sees what the program sent.
pub(super) async fn far_end(kind: Kind, far: TcpStream) -> io::Result<Box<dyn Stream>> {
    let Kind::Sealed(method) = kind else { return Ok(Box::new(far)) };
    let Accepted { target: asked, first, stream } = server::accept(far, &key(method)).await?;
    assert_eq!(asked, target());
    let (source, sink) = tokio::io::split(stream);
    Ok(Box::new(tokio::io::join(io::Cursor::new(first).chain(source), sink)))
}

/// `early`: what a plain link already has of the destination.
fn link(kind: Kind, near: TcpStream, early: &[u8]) -> Link {
    match kind {
        Kind::Plain => {
            Link::Plain { tcp: near, early: early.into(), half_close: HalfClose::Forwarded }
        }
        Kind::Sealed(method) => Link::Sealed(Box::new(seal(near, method))),
        Kind::Stream => stream(near),
    }
}

/// `abrupt`: dropping the server resets its connection.
async fn bench(kind: Kind, abrupt: bool) -> Bench {
    let (program, mut client) = tcp_pair().await;
    let (near, far) = tcp_pair().await;
    if abrupt {
        socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let link = link(kind, near, b"early");
    let meter = Arc::new(Meter::default());
    let counted = Arc::clone(&meter);
    let relay =
        tokio::spawn(
            async move { relay(&mut client, link, &counted, &Limits::default(), None).await },
        );
    let mut program = program;
    if kind == Kind::Plain {
        let mut early = [0; 5];
        program.read_exact(&mut early).await.unwrap();
        assert_eq!(&early, b"early");
    }
    // The program says nothing: the destination's address comes all the same.
    let server = timeout(Duration::from_secs(5), far_end(kind, far)).await.unwrap().unwrap();
    Bench { program, server, meter, relay }
}

async fn end(relay: JoinHandle<End>) -> End {
    timeout(Duration::from_secs(20), relay).await.expect("in time").unwrap()
}

fn pattern(seed: usize) -> Vec<u8> {
    (0..MANY).map(|n| (((n + seed) * 31) >> 3) as u8).collect()
}

#[tokio::test]
async fn the_client_closes_first_and_still_gets_everything() {
    for kind in KINDS {
        let Bench { mut program, mut server, meter, relay } = bench(kind, false).await;
        let serving = tokio::spawn(async move {
            let mut received = Vec::new();
            server.read_to_end(&mut received).await.unwrap();
            server.write_all(&pattern(1)).await.unwrap();
            server.shutdown().await.unwrap();
            received
        });
        program.write_all(&pattern(0)).await.unwrap();
        program.shutdown().await.unwrap();
        let mut answer = Vec::new();
        program.read_to_end(&mut answer).await.unwrap();
        assert!(serving.await.unwrap() == pattern(0), "{kind:?}");
        assert!(answer == pattern(1), "{kind:?}");
        assert!(matches!(end(relay).await, End::Closed), "{kind:?}");
        let early = if kind == Kind::Plain { 5 } else { 0 };
        assert_eq!((meter.up.get(), meter.down.get()), (MANY as u64, MANY as u64 + early));
    }
}

#[tokio::test]
async fn the_server_closes_first_and_still_gets_everything() {
    for kind in KINDS {
        let Bench { mut program, mut server, relay, .. } = bench(kind, false).await;
        server.write_all(b"banner").await.unwrap();
        server.shutdown().await.unwrap();
        let mut banner = Vec::new();
        program.read_to_end(&mut banner).await.unwrap();
        assert_eq!(banner, b"banner", "{kind:?}");
        let serving = tokio::spawn(async move {
            let mut received = Vec::new();
            server.read_to_end(&mut received).await.unwrap();
            received
        });
        program.write_all(&pattern(2)).await.unwrap();
        program.shutdown().await.unwrap();
        assert!(serving.await.unwrap() == pattern(2), "{kind:?}");
        assert!(matches!(end(relay).await, End::Closed), "{kind:?}");
    }
}

#[tokio::test]
async fn a_reset_of_the_client_reaches_the_server() {
    for kind in [Kind::Plain, SEALED, SEALED_2022] {
        let Bench { program, mut server, relay, .. } = bench(kind, false).await;
        reset(program);
        let read = timeout(Duration::from_secs(5), server.read(&mut [0; 9])).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{kind:?}");
        assert!(matches!(end(relay).await, End::Client(_)), "{kind:?}");
    }
}

#[tokio::test]
async fn a_reset_of_the_server_reaches_the_client() {
    for kind in KINDS {
        let Bench { mut program, server, relay, .. } = bench(kind, true).await;
        drop(server);
        let read = timeout(Duration::from_secs(5), program.read(&mut [0; 9])).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{kind:?}");
        assert!(matches!(end(relay).await, End::Upstream(_)), "{kind:?}");
    }
}

/// Nobody reads the client while its bytes wait for the upstream.
#[tokio::test]
async fn a_reset_of_the_client_is_seen_while_the_upstream_stalls() {
    for kind in [Kind::Plain, SEALED, SEALED_2022] {
        let Bench { program, server, relay, .. } = bench(kind, false).await;
        // Until nothing moves any more.
        let pieces = vec![7; 1 << 20];
        while timeout(Duration::from_millis(300), program.writable()).await.is_ok() {
            let _ = program.try_write(&pieces);
        }
        reset(program);
        tokio::time::pause();
        assert!(matches!(end(relay).await, End::Client(_)), "{kind:?}");
        tokio::time::resume();
        drop(server);
    }
}

/// At the end of a stop.
#[tokio::test]
async fn what_is_cut_is_reset_on_both_sides() {
    for kind in KINDS {
        let Bench { mut program, mut server, relay, .. } = bench(kind, false).await;
        program.write_all(b"hello").await.unwrap();
        server.read_exact(&mut [0; 5]).await.unwrap();
        relay.abort();
        let error = program.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{kind:?}");
        let told = server.read(&mut [0]).await;
        // What carries a stream is not known there.
        assert!(told.is_err() || kind == Kind::Stream, "{kind:?}: {told:?}");
    }
}

/// An upstream that stalls for a while gets all the same what came before the reset.
#[tokio::test]
async fn a_reset_waits_for_what_came_before_it() {
    let Bench { program, mut server, relay, meter } = bench(Kind::Plain, false).await;
    let piece = vec![7; 1 << 20];
    let mut sent = 0;
    while timeout(Duration::from_millis(300), program.writable()).await.is_ok() {
        sent += program.try_write(&piece).unwrap_or(0);
    }
    let written = meter.up.get();
    reset(program);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut received = 0;
    let mut buffer = vec![0; 1 << 20];
    let error = loop {
        match timeout(Duration::from_secs(5), server.read(&mut buffer)).await.unwrap() {
            Ok(0) => panic!("a reset became an end"),
            Ok(read) => received += read,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // What the client's own kernel had not sent is lost with its reset, what the relay held is not.
    assert!(received as u64 > written && received <= sent, "{written} < {received} <= {sent}");
    assert!(matches!(end(relay).await, End::Client(_)));
}

/// The half that writes may take the connection's only error away from the half that reads. Which
/// half is asked first is chance.
#[tokio::test]
async fn a_reset_found_by_writing_is_no_end() {
    for kind in KINDS {
        for round in 0..20 {
            let Bench { mut program, server, relay, .. } = bench(kind, true).await;
            // Nothing runs in between: the relay learns both at once.
            assert_eq!(program.try_write(b"hello").unwrap(), 5);
            drop(server);
            let read = timeout(Duration::from_secs(5), program.read(&mut [0; 9])).await.unwrap();
            let what = format!("{kind:?}, round {round}");
            assert_eq!(read.expect_err(&what).kind(), io::ErrorKind::ConnectionReset, "{what}");
            assert!(matches!(end(relay).await, End::Upstream(_)), "{what}");
        }
    }
}

#[tokio::test]
async fn a_reset_behind_a_fin_is_seen_too() {
    for kind in [Kind::Plain, SEALED, SEALED_2022] {
        let Bench { mut program, mut server, relay, .. } = bench(kind, false).await;
        program.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
        reset(program);
        assert!(matches!(end(relay).await, End::Client(_)), "{kind:?}");
    }
}

#[tokio::test]
async fn bytes_that_do_not_authenticate_reset_the_client() {
    let (mut program, mut client) = tcp_pair().await;
    let (near, mut far) = tcp_pair().await;
    let link = Link::Sealed(Box::new(seal(near, Method::Aes128Gcm)));
    let relay = tokio::spawn(async move {
        relay(&mut client, link, &Meter::default(), &Limits::default(), None).await
    });
    far.write_all(&[7; 100]).await.unwrap();
    let read = timeout(Duration::from_secs(5), program.read(&mut [0; 9])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let End::Upstream(error) = end(relay).await else { panic!("not the upstream") };
    assert!(error.to_string().contains("password"), "{error}");
}

/// A server of shadowsocks 2022 seals four times as much in a chunk as a small piece of memory
/// holds. It comes slowly, in bulk, and where no large piece is left.
#[tokio::test]
async fn long_chunks_find_room() {
    let key = key(Method::Blake3Aes256Gcm);
    for (limits, piece) in [(0, 900), (0, 40_000), (8, 900), (8, 70_000)] {
        let (mut program, mut client) = tcp_pair().await;
        let (near, mut far) = tcp_pair().await;
        let sealed = seal(near, Method::Blake3Aes256Gcm);
        let chunks = [vec![1; 65_535], vec![2; 20_000], vec![3; 65_535], vec![4; 5]];
        let wire = server::wire_of_long_chunks(&key, sealed.sealer.salt(&key), &chunks);
        let link = Link::Sealed(Box::new(sealed));
        let relay = tokio::spawn(async move {
            relay(&mut client, link, &Meter::default(), &Limits::new(0, limits), None).await
        });
        let sending = tokio::spawn(async move {
            for piece in wire.chunks(piece) {
                far.write_all(piece).await.unwrap();
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            far
        });
        program.shutdown().await.unwrap();
        let mut received = vec![0; chunks.concat().len()];
        let read = program.read_exact(&mut received);
        timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
        assert!(received == chunks.concat(), "{limits} large, {piece} bytes at a time");
        assert_eq!(buffer::IN_USE.get(), 0);
        drop(sending.await.unwrap());
        end(relay).await;
    }
}

/// The first payload and the header leave in one packet: an observer sees one, and so do we.
#[tokio::test]
async fn header_and_first_payload_go_together() {
    let (mut program, mut client) = tcp_pair().await;
    let (near, mut far) = tcp_pair().await;
    program.write_all(b"GET /").await.unwrap();
    client.readable().await.unwrap();
    let link = Link::Sealed(Box::new(seal(near, Method::Aes128Gcm)));
    let _relay = tokio::spawn(async move {
        relay(&mut client, link, &Meter::default(), &Limits::default(), None).await
    });
    let mut packet = [0; 1000];
    let read = timeout(Duration::from_secs(5), far.read(&mut packet)).await.unwrap();
    assert_eq!(read.unwrap(), 16 + 18 + 7 + 5 + 16);
}

/// A server of shadowsocks 2022 refuses a request whose headers do not come in one piece, and one
/// that carries nothing.
#[tokio::test]
async fn a_request_of_2022_is_one_piece() {
    for speaks in [true, false] {
        let (mut program, mut client) = tcp_pair().await;
        let (near, mut far) = tcp_pair().await;
        if speaks {
            program.write_all(b"GET /").await.unwrap();
            client.readable().await.unwrap();
        }
        let link = Link::Sealed(Box::new(seal(near, Method::Blake3Aes256Gcm)));
        let _relay = tokio::spawn(async move {
            relay(&mut client, link, &Meter::default(), &Limits::default(), None).await
        });
        let mut packet = [0; 2000];
        let read = timeout(Duration::from_secs(5), far.read(&mut packet)).await.unwrap().unwrap();
        let headers = 32 + 27 + 7 + 2 + 16;
        match speaks {
            true => assert_eq!(read, headers + 5),
            false => assert!((headers + 1..=headers + 900).contains(&read), "{read}"),
        }
    }
}

/// Both halves have carried something and wait: neither holds a piece of memory then.
#[tokio::test]
async fn an_idle_relay_holds_no_memory() {
    for kind in KINDS {
        let Bench { mut program, mut server, relay, .. } = bench(kind, false).await;
        for _ in 0..3 {
            program.write_all(b"question").await.unwrap();
            server.read_exact(&mut [0; 8]).await.unwrap();
            server.write_all(b"answer").await.unwrap();
            server.flush().await.unwrap();
            program.read_exact(&mut [0; 6]).await.unwrap();
        }
        // The half that wrote last has yet to find that nothing more is there.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!relay.is_finished());
        assert_eq!(buffer::IN_USE.get(), 0, "{kind:?}");
    }
}

/// Memory of an idle connection is mostly that of its future: each level of calls that copies its
/// arguments into itself shows here.
#[tokio::test]
async fn a_relay_is_small() {
    for kind in KINDS {
        let (_program, mut client) = tcp_pair().await;
        let (near, _far) = tcp_pair().await;
        let link = match kind {
            Kind::Plain => {
                Link::Plain { tcp: near, early: Vec::new(), half_close: HalfClose::Held }
            }
            Kind::Sealed(method) => Link::Sealed(Box::new(seal(near, method))),
            Kind::Stream => stream(near),
        };
        let meter = Meter::default();
        let size = size_of_val(&*relay(&mut client, link, &meter, &Limits::default(), None));
        assert!(size <= 1408, "{kind:?}: {size}");
    }
}
