//! Looking addresses up in the embedded China list.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses all over the space, in no order (a multiplicative sequence), so that neither the
/// caches nor the branch predictor know what comes.
fn addresses(of: impl Fn(u32) -> IpAddr) -> Vec<IpAddr> {
    (1..=4096u32).map(|n| of(n.wrapping_mul(2_654_435_761))).collect()
}

fn lookup(c: &mut Criterion) {
    let china = snet::ipset::china();
    let v4 = addresses(|n| Ipv4Addr::from(n).into());
    let v6 = addresses(|n| Ipv6Addr::from((0x2400 << 112) | (u128::from(n) << 84)).into());
    for (name, addresses) in [("IPv4", v4), ("IPv6", v6)] {
        let mut next = addresses.iter().cycle();
        c.bench_function(&format!("China list, {name}"), |b| {
            b.iter(|| next.next().is_some_and(|address| china.contains(black_box(*address))));
        });
    }
}

criterion_group!(benches, lookup);
criterion_main!(benches);
