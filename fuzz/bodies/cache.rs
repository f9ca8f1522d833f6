//! The file that keeps answers over a restart, whoever has written it.

use snet::dns::cache::{Cache, Now};
use snet::dns::reply::Clamp;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// One moment for all runs, so that a finding can be repeated.
static NOW: LazyLock<Now> =
    LazyLock::new(|| Now { steady: Instant::now(), wall: Duration::from_secs(1_800_000_000) });

pub fn run(file: &[u8]) {
    const SIZE: usize = 100_000;
    let clamp = Clamp::new(Duration::ZERO, Duration::from_secs(86_400));
    let load = |file: &[u8]| {
        let mut cache = Cache::new(SIZE);
        let count = cache.load(file, clamp, *NOW, |_, _| true);
        (cache, count)
    };
    let (cache, count) = load(file);
    let saved = cache.save(*NOW);
    let (again, count_again) = load(&saved);
    assert_eq!(count, count_again, "what was taken in is written and taken in again");
    assert_eq!(again.save(*NOW).len(), saved.len());
}
