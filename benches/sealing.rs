//! Sealing and opening whole chunks of every shadowsocks method, as the relay does.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use snet::proxy::shadowsocks::LONGEST_PAYLOAD;
use snet::proxy::shadowsocks::cipher::{MasterKey, Method};
use snet::proxy::shadowsocks::opener::Opener;
use snet::proxy::shadowsocks::sealer::{self, Sealer};
use snet::secret::Secret;

const CHUNKS: usize = 4;

fn sealing(c: &mut Criterion) {
    let payload = CHUNKS * LONGEST_PAYLOAD;
    for method in Method::ALL {
        let key = MasterKey::new(method, &Secret::new("secret"));
        let mut group = c.benchmark_group(method.name());
        group.throughput(Throughput::Bytes(payload as u64));
        let mut memory = vec![0; sealer::memory(CHUNKS)];
        let Ok(mut sealer) = Sealer::new(&key) else { return };
        group.bench_function("seal", |b| b.iter(|| sealer.seal(&mut memory, payload).is_ok()));
        let Ok(mut sealer) = Sealer::new(&key) else { return };
        let Ok(run) = sealer.seal(&mut memory, payload) else { return };
        let wire = memory[run].to_vec();
        group.bench_function("open", |b| {
            b.iter_batched_ref(
                || (Opener::new(key.clone()), wire.clone()),
                |(opener, wire)| opener.open(wire).is_ok(),
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group!(benches, sealing);
criterion_main!(benches);
