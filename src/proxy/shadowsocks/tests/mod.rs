//! Sealer against opener, in pieces of every size, and both over a loopback connection.

mod sip022;

use super::*;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal, listen};
use crate::secret::Secret;
use cipher::method::{Edition, Method};
use proptest::prelude::*;
use sealer::LONGEST_PAYLOAD;
use server::Accepted;
use std::sync::Arc;
use stream::SealedStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// A key for each method, in base64 where it has to be: bytes 0, 1, 2, ...
pub(super) fn key(method: Method) -> MasterKey {
    let password = match (method.edition(), method.key_len()) {
        (Edition::Sip004, _) => "secret",
        (Edition::Sip022, 16) => "AAECAwQFBgcICQoLDA0ODw==",
        (Edition::Sip022, _) => "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    };
    MasterKey::new(method, &Secret::new(password)).unwrap()
}

pub(super) fn target() -> Target {
    Target::Name("example.com".into(), 80)
}

/// From a server to a client: the sealer there and the opener here.
fn answer(method: Method) -> (Sealer, Opener) {
    let key = key(method);
    let request = Sealer::request(&key, &target()).unwrap();
    let sealer = Sealer::answer(&key, request.salt(&key)).unwrap();
    (sealer, Opener::answer(key, &request))
}

/// Bytes before the first payload from a server.
fn opening(method: Method) -> usize {
    match method.edition() {
        Edition::Sip004 => method.key_len() + 18,
        Edition::Sip022 => method.key_len() + 1 + 8 + method.key_len() + 2 + 16,
    }
}

/// What the wire carries for these payloads.
fn wire(sealer: &mut Sealer, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut memory = vec![0; sealer::memory(4)];
    let mut wire = Vec::new();
    for payload in payloads {
        let placed = sealer::place(&mut memory, 0, payload);
        assert_eq!(placed, payload.len());
        let run = sealer.seal(&mut memory, placed).unwrap();
        wire.extend_from_slice(&memory[run]);
    }
    wire
}

/// Opens a wire that comes in pieces of these sizes, again and again.
fn open_in_pieces(opener: &mut Opener, wire: &[u8], sizes: &[usize]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let mut waiting: Vec<u8> = Vec::new();
    let mut rest = wire;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, later) = rest.split_at((*size).min(rest.len()));
        rest = later;
        waiting.extend_from_slice(piece);
        let opened = opener.open(&mut waiting)?;
        plain.extend_from_slice(&waiting[..opened.plain]);
        waiting.drain(..opened.used);
    }
    assert!(opener.may_end(waiting.len()));
    Ok(plain)
}

#[test]
fn a_large_payload_is_cut_into_chunks() {
    for method in Method::ALL {
        let payload: Vec<u8> = (0..LONGEST_PAYLOAD * 3 + 5).map(|n| n as u8).collect();
        let (mut sealer, mut opener) = answer(method);
        let wire = wire(&mut sealer, std::slice::from_ref(&payload));
        assert_eq!(wire.len(), opening(method) + payload.len() + 3 * (2 + 16 + 16) + 16);
        assert_eq!(open_in_pieces(&mut opener, &wire, &[wire.len()]).unwrap(), payload);
    }
}

#[test]
fn no_payload_sends_nothing_and_keeps_the_salt() {
    for method in Method::ALL {
        let (mut sealer, _) = answer(method);
        assert!(wire(&mut sealer, &[vec![]]).is_empty());
        assert_eq!(wire(&mut sealer, &[vec![1]]).len(), opening(method) + 17);
        assert_eq!(wire(&mut sealer, &[vec![1]]).len(), 18 + 17, "the salt goes out once");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for method in [Method::Aes128Gcm, Method::Blake3Aes128Gcm] {
        let length = opening(method) + 5 + 16;
        for byte in 0..length {
            let (mut sealer, mut opener) = answer(method);
            let mut bad = wire(&mut sealer, &[b"hello".to_vec()]);
            assert_eq!(bad.len(), length);
            bad[byte] ^= 1;
            let error = opener.open(&mut bad).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {byte}");
        }
    }
}

#[test]
fn an_end_inside_a_chunk_is_none() {
    for (method, salt_alone) in [(Method::Aes128Gcm, true), (Method::Blake3Aes128Gcm, false)] {
        let length = opening(method) + 5 + 16;
        for end in 0..=length {
            let (mut sealer, mut opener) = answer(method);
            let mut wire = wire(&mut sealer, &[b"hello".to_vec()]);
            let used = opener.open(&mut wire[..end]).unwrap().used;
            let orderly = end == 0 || end == length || (end == 16 && salt_alone);
            assert_eq!(opener.may_end(end - used), orderly, "{method} after {end} bytes");
        }
    }
}

#[test]
fn a_length_out_of_bounds_is_refused() {
    let key = key(Method::Aes128Gcm);
    let salt = [0; 16];
    let mut size = 0x4000u16.to_be_bytes();
    let tag = key.session(&salt).seal(&mut size).unwrap();
    let mut wire = [&salt[..], &size, &tag].concat();
    assert!(answer(Method::Aes128Gcm).1.open(&mut wire).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_payloads_in_any_pieces(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40_000), 0..4),
        sizes in prop::collection::vec(
            prop_oneof![1usize..100, 1usize..30_000],
            1..5,
        ),
        method in prop::sample::select(&Method::ALL[..]),
    ) {
        let (mut sealer, mut opener) = answer(method);
        let wire = wire(&mut sealer, &payloads);
        prop_assert_eq!(open_in_pieces(&mut opener, &wire, &sizes).unwrap(), payloads.concat());
    }

    #[test]
    fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = answer(Method::Aes128Gcm).1.open(&mut bytes.clone());
        let _ = answer(Method::Blake3Aes128Gcm).1.open(&mut bytes);
    }
}

/// What an attacker on the way may do to whole chunks, or to one bit.
#[derive(Clone, Copy, Debug)]
enum Attack {
    Flip { bit: u8 },
    Truncate,
    Drop,
    Replay,
    Swap,
}

fn attack() -> impl Strategy<Value = Attack> {
    prop_oneof![
        (0u8..8).prop_map(|bit| Attack::Flip { bit }),
        Just(Attack::Truncate),
        Just(Attack::Drop),
        Just(Attack::Replay),
        Just(Attack::Swap),
    ]
}

/// The wire after the attack on chunk `at`; inside it, at `inside`, for the first two kinds.
fn attacked(attack: Attack, chunks: &[Vec<u8>], at: usize, inside: prop::sample::Index) -> Vec<u8> {
    let mut chunks = chunks.to_vec();
    let inside = inside.index(chunks[at].len());
    match attack {
        Attack::Flip { bit } => chunks[at][inside] ^= 1 << bit,
        Attack::Truncate => {
            chunks[at].truncate(inside);
            chunks.truncate(at + 1);
        }
        Attack::Drop => drop(chunks.remove(at)),
        Attack::Replay => chunks.insert(at, chunks[at - 1].clone()),
        Attack::Swap => chunks.swap(at, at + 1),
    }
    chunks.concat()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(
            std::env::var("SNET_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
        )
    })]
    /// Whatever is done to a stream, no plain byte beyond the last chunk that came as it was sent
    /// is handed out, and an end in the wrong place is no orderly one.
    #[test]
    fn an_attacked_stream_yields_nothing_beyond_the_last_good_chunk(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 4..8),
        sizes in prop::collection::vec(1usize..500, 1..5),
        attack in attack(),
        at in 1usize..3,
        inside: prop::sample::Index,
        method in prop::sample::select(&[Method::Aes256Gcm, Method::Blake3Aes256Gcm][..]),
    ) {
        let (mut sealer, mut opener) = answer(method);
        let chunks: Vec<Vec<u8>> =
            payloads.iter().map(|it| wire(&mut sealer, std::slice::from_ref(it))).collect();
        let good = payloads[..at].concat();
        let bad = attacked(attack, &chunks, at, inside);

        let (mut plain, mut waiting, mut failed) = (Vec::new(), Vec::new(), false);
        let mut rest = &bad[..];
        for size in sizes.iter().cycle() {
            let (piece, later) = rest.split_at((*size).min(rest.len()));
            rest = later;
            waiting.extend_from_slice(piece);
            let Ok(opened) = opener.open(&mut waiting) else {
                failed = true;
                break;
            };
            plain.extend_from_slice(&waiting[..opened.plain]);
            waiting.drain(..opened.used);
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(good.starts_with(&plain));
        match attack {
            Attack::Truncate => {
                prop_assert_eq!(&plain, &good);
                let at_a_boundary = bad.len() == chunks[..at].concat().len();
                prop_assert_eq!(!failed && opener.may_end(waiting.len()), at_a_boundary);
            }
            _ => prop_assert!(failed, "nobody noticed"),
        }
    }
}

/// A connection to a server that shares the key: the client's stream, and what the server gets.
async fn pair(method: Method) -> (SealedStream, JoinHandle<io::Result<Accepted>>) {
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port());
    let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
    let server = ProxyServer::new("s".into(), Arc::new(endpoint), outbound);
    let proxy = Shadowsocks::new(server, key(method));
    let dialled = proxy.connect(&target(), &Progress::default()).await.unwrap();
    let Link::Sealed(client) = dialled else { panic!("not sealed") };
    let (tcp, _) = listener.accept().await.unwrap();
    let accepting = tokio::spawn(async move { server::accept(tcp, &key(method)).await });
    (SealedStream::new(*client), accepting)
}

#[tokio::test]
async fn a_stream_carries_the_target_and_bytes_both_ways_and_half_closes() {
    for method in Method::ALL {
        let (mut client, accepting) = pair(method).await;
        let serving = tokio::spawn(async move {
            let Accepted { target: asked, first: mut received, mut stream } =
                accepting.await.unwrap().unwrap();
            assert_eq!(asked, target());
            stream.read_to_end(&mut received).await.unwrap();
            stream.write_all(&received).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let sent: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        let mut echoed = Vec::new();
        client.read_to_end(&mut echoed).await.unwrap();
        serving.await.unwrap();
        assert!(echoed == sent, "{method}");
    }
}
