//! Sealing and opening of every shadowsocks method, as the relay does: whole chunks of a
//! connection, and datagrams.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use snet::proxy::association::DatagramCodec;
use snet::proxy::shadowsocks::cipher::master_key::MasterKey;
use snet::proxy::shadowsocks::cipher::method::{Edition, Method};
use snet::proxy::shadowsocks::datagram::SaltedDatagrams;
use snet::proxy::shadowsocks::opener::Opener;
use snet::proxy::shadowsocks::sealer::{self, LONGEST_PAYLOAD, Sealer};
use snet::proxy::shadowsocks::sessions::SessionDatagrams;
use snet::secret::Secret;
use snet::target::Target;

const CHUNKS: usize = 4;

/// Bytes 0, 1, 2, ... where a key has to be.
fn key(method: Method) -> Option<MasterKey> {
    let password = match (method.edition(), method.key_len()) {
        (Edition::Sip004, _) => "secret",
        (Edition::Sip022, 16) => "AAECAwQFBgcICQoLDA0ODw==",
        (Edition::Sip022, _) => "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    };
    MasterKey::new(method, &Secret::new(password)).ok()
}

/// A server's end and a client's, of which the one opens what the other seals.
fn codecs(key: &MasterKey) -> Option<[Box<dyn DatagramCodec>; 2]> {
    if key.method().edition() == Edition::Sip004 {
        let codec = || Box::new(SaltedDatagrams::new(key.clone()));
        return Some([codec(), codec()]);
    }
    let mut client = SessionDatagrams::new(key).ok()?;
    let mut server = SessionDatagrams::of_server(key).ok()?;
    let mut question = Vec::new();
    client.seal(&target(), b"", &mut question).ok()?;
    server.open_any(&mut question).ok()?;
    Some([Box::new(server), Box::new(client)])
}

fn target() -> Target {
    Target::addr(([203, 0, 113, 1], 443).into())
}

fn sealing(c: &mut Criterion) {
    let payload = CHUNKS * LONGEST_PAYLOAD;
    for method in Method::ALL {
        let Some(key) = key(method) else { return };
        let mut group = c.benchmark_group(method.name());
        group.throughput(Throughput::Bytes(payload as u64));
        let mut memory = vec![0; sealer::memory(CHUNKS)];
        let Ok(request) = Sealer::request(&key, &target()) else { return };
        let Ok(mut sealer) = Sealer::answer(&key, request.salt(&key)) else { return };
        group.bench_function("seal", |b| b.iter(|| sealer.seal(&mut memory, payload).is_ok()));
        let Ok(mut sealer) = Sealer::answer(&key, request.salt(&key)) else { return };
        let Ok(run) = sealer.seal(&mut memory, payload) else { return };
        let wire = memory[run].to_vec();
        group.bench_function("open", |b| {
            b.iter_batched_ref(
                || (Opener::answer(key.clone(), &request), wire.clone()),
                |(opener, wire)| opener.open(wire).is_ok(),
                BatchSize::LargeInput,
            );
        });
    }
}

/// A train of datagrams, as one read of a listener gives: what a packet of its own salt costs.
fn datagrams(c: &mut Criterion) {
    const TRAIN: usize = 32;
    for method in Method::ALL {
        let Some(key) = key(method) else { return };
        let mut group = c.benchmark_group(format!("{method} datagrams"));
        group.throughput(Throughput::Elements(TRAIN as u64));
        for length in [64, 1350] {
            let payload = vec![0; length];
            let Some([mut codec, mut other]) = codecs(&key) else { return };
            let mut packets = Vec::new();
            group.bench_function(format!("seal {length}"), |b| {
                b.iter(|| {
                    packets.clear();
                    (0..TRAIN).all(|_| codec.seal(&target(), &payload, &mut packets).is_ok())
                });
            });
            // A number opens once: each round has a train of its own.
            group.bench_function(format!("open {length}"), |b| {
                b.iter_batched_ref(
                    || {
                        let mut packets = Vec::new();
                        for _ in 0..TRAIN {
                            let _ = codec.seal(&target(), &payload, &mut packets);
                        }
                        packets
                    },
                    |packets| {
                        let packet = packets.len() / TRAIN;
                        packets.chunks_mut(packet).all(|it| other.open(it).is_ok())
                    },
                    BatchSize::LargeInput,
                );
            });
        }
    }
}

criterion_group!(benches, sealing, datagrams);
criterion_main!(benches);
