//! Finding an answer in the resolver's cache and writing it, as is done for each query, and putting
//! one in while the cache is full.

use criterion::{Criterion, criterion_group, criterion_main};
use snet::dns::cache::Cache;
use snet::dns::reply::{Clamp, Reply, Side, Stored};
use snet::dns::wire::{Query, UDP_SIZE};
use std::hint::black_box;
use std::time::{Duration, Instant};

const NAMES: u16 = 1000;

/// A question for the A record of `nNNNNN.example`.
fn question(number: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    message.push(6);
    message.extend_from_slice(format!("n{number:05}").as_bytes());
    message.extend_from_slice(b"\x07example\x00\x00\x01\x00\x01");
    message
}

/// Its answer: one address for an hour.
fn answer(number: u16) -> Stored {
    let mut message = question(number);
    message[2] = 0x81;
    message[3] = 0x80;
    message[7] = 1;
    message.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02\x01");
    let clamp = Clamp::new(Duration::ZERO, Duration::from_secs(86_400));
    Stored::new(&Reply::parse(&message).expect("a whole answer"), Side::Trusted, clamp)
}

fn cache(c: &mut Criterion) {
    let queries: Vec<Query> =
        (0..NAMES).map(|number| Query::parse(&question(number)).expect("a question")).collect();
    let answers: Vec<Stored> = (0..NAMES).map(answer).collect();
    let now = Instant::now();

    let mut full = Cache::new(4 << 20);
    for (query, answer) in queries.iter().zip(&answers) {
        full.insert(query, answer.clone(), now);
    }
    let (mut next, mut out) = (queries.iter().cycle(), Vec::new());
    let later = now + Duration::from_secs(5);
    c.bench_function("a fresh answer found and written", |b| {
        b.iter(|| {
            out.clear();
            let query = next.next().expect("an endless cycle");
            let hit = full.get(black_box(query), later).expect("it was put there");
            hit.write(query, usize::from(UDP_SIZE), &mut out);
            out.len()
        });
    });

    // Room for a tenth of them: each one that comes drives another out.
    let mut small = Cache::new(answers.iter().map(Stored::size).sum::<usize>() / 10);
    let mut next = queries.iter().zip(&answers).cycle();
    c.bench_function("an answer put into a full cache", |b| {
        b.iter(|| {
            let (query, answer) = next.next().expect("an endless cycle");
            small.insert(query, answer.clone(), now);
        });
    });
}

criterion_group!(benches, cache);
criterion_main!(benches);
