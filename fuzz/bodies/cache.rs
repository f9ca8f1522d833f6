//! The file that keeps answers over a restart, whoever has written it.

use snet::dns::cache::{Cache, FORMAT, Now};
use snet::dns::reply::Clamp;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// One moment for all runs, so that a finding can be repeated.
static NOW: LazyLock<Now> = LazyLock::new(|| Now {
    steady: Instant::now(),
    wall: Some(Duration::from_secs(1_800_000_000)),
});

pub fn run(file: &[u8]) {
    const SIZE: usize = 100_000;
    let clamp = Clamp::new(Duration::ZERO, Duration::from_secs(86_400));
    let load = |mut file: &[u8]| {
        let mut cache = Cache::new(SIZE);
        let count = cache.load(&mut file, usize::MAX, clamp, *NOW, |_, _| true);
        (cache, count)
    };
    let save =
        |cache: &Cache| cache.save(*NOW, 0, usize::MAX).map_or_else(Vec::new, |(saved, _)| saved);
    // What stands before the records is looked at by whoever opens the file.
    let (cache, count) = load(file.strip_prefix(FORMAT.line).unwrap_or(file));
    let saved = save(&cache);
    let (again, count_again) = load(&saved);
    assert_eq!(count, count_again, "what was taken in is written and taken in again");
    assert_eq!(save(&again).len(), saved.len());
}
