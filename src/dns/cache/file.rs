//! `dns.cache-file`: answers kept over a restart.
//!
//! The file holds a line that names its format, then for each answer a record: its length and its
//! CRC-32 (four bytes each), when it was written (seconds of the Unix epoch, eight bytes; 0: nobody
//! knew), how old it was then (seconds, four bytes), who said it (one byte), and with two bytes of
//! length each the key and the message. It is read with suspicion: what does not fit ends the
//! reading.
//!
//! A clock may be wrong, when the file is written or when it is read: a router without a battery
//! boots in 1970. An answer whose age cannot be told so counts as one that has just expired: it is
//! there if no server answers, and for nothing else.

use super::{Cache, STALE_FOR};
use crate::clock;
use crate::dns::reply::{Clamp, Reply, Side, Stored};
use crate::dns::wire::Query;
use crate::domain::Name;
use crate::kept_file::KeptFormat;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How the file begins.
pub const FORMAT: KeptFormat = KeptFormat { head: b"snet dns cache ", line: b"snet dns cache 2\n" };

/// One moment on both clocks: the file counts by the wall, the cache does not.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The steady clock.
    pub steady: Instant,
    /// Since the Unix epoch; `None`: the clock is surely wrong.
    pub wall: Option<Duration>,
}

impl Now {
    /// Looks at both clocks.
    pub fn read() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        Now { steady: Instant::now(), wall: wall.filter(|_| clock::behind().is_none()) }
    }
}

impl Cache {
    /// A piece of the file's content: the answers from this number on, until there are `most` bytes
    /// of them, and the number that comes next. `None`: there are no more.
    ///
    /// What changes between two pieces may be missing, or be there twice.
    pub fn save(&self, now: Now, from: usize, most: usize) -> Option<(Vec<u8>, usize)> {
        let (mut out, mut next) = (Vec::new(), from);
        for (key, entry) in self.entries.iter_from(from) {
            if out.len() >= most {
                break;
            }
            next += 1;
            let age = now.steady.saturating_duration_since(entry.birth);
            let message = entry.stored.message();
            let (Ok(key_length), Ok(length)) =
                (u16::try_from(key.len()), u16::try_from(message.len()))
            else {
                continue;
            };
            let mut record = Vec::with_capacity(17 + key.len() + message.len());
            record.extend(now.wall.unwrap_or_default().as_secs().to_be_bytes());
            record.extend(u32::try_from(age.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
            record.push(u8::from(entry.stored.side() == Side::Trusted));
            record.extend(key_length.to_be_bytes());
            record.extend(key);
            record.extend(length.to_be_bytes());
            record.extend(message);
            let Ok(record_length) = u32::try_from(record.len()) else { continue };
            out.extend(record_length.to_be_bytes());
            out.extend(crc32fast::hash(&record).to_be_bytes());
            out.extend(record);
        }
        (next > from).then_some((out, next))
    }

    /// Takes over up to `most` answers of the content that `fits` says are still right, and that no
    /// server has given since; `rest` is what is left of it. Returns their number.
    pub fn load(
        &mut self,
        rest: &mut &[u8],
        most: usize,
        clamp: Clamp,
        now: Now,
        fits: impl Fn(&Query, Side) -> bool,
    ) -> usize {
        let before = self.len();
        for _ in 0..most {
            let Some(record) = FileRecord::take(rest) else {
                *rest = &[];
                break;
            };
            self.restore(&record, clamp, now, &fits);
        }
        self.len().saturating_sub(before)
    }

    fn restore(
        &mut self,
        record: &FileRecord<'_>,
        clamp: Clamp,
        now: Now,
        fits: &impl Fn(&Query, Side) -> bool,
    ) -> Option<()> {
        let reply = Reply::parse(record.message)?;
        let (flags, question) = record.key.split_last()?;
        let (class, question) = question.split_last_chunk::<2>().map(|(q, class)| (class, q))?;
        let (name, qtype) = question.split_last_chunk::<2>()?;
        let query = Query::new(&Name::from_wire(name)?, u16::from_be_bytes(*qtype));
        let is_same = u16::from_be_bytes(*class) == query.qclass() && *flags < 8;
        if !is_same || !reply.matches(&query, reply.id()) || !fits(&query, record.side) {
            return None;
        }
        let stored = Stored::new(&reply, record.side, clamp);
        let lifetime = Duration::from_secs(stored.lifetime().into());
        // One from the future was written, or is read, when the clock was wrong.
        let since = now.wall.zip(record.written).and_then(|(wall, at)| wall.checked_sub(at));
        let age = since.map_or(record.age.max(lifetime), |since| record.age.saturating_add(since));
        let birth = now.steady.checked_sub(age)?;
        let is_known = self.entries.contains(record.key);
        if !is_known && !lifetime.is_zero() && age < lifetime + STALE_FOR {
            self.put(record.key, stored, birth, now.steady);
        }
        Some(())
    }
}

struct FileRecord<'a> {
    /// Since the Unix epoch.
    written: Option<Duration>,
    /// When it was written.
    age: Duration,
    side: Side,
    key: &'a [u8],
    message: &'a [u8],
}

impl<'a> FileRecord<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<FileRecord<'a>> {
        let length = u32::from_be_bytes(*rest.split_off(..4)?.first_chunk()?);
        let checksum = u32::from_be_bytes(*rest.split_off(..4)?.first_chunk()?);
        let mut record = rest.split_off(..usize::try_from(length).ok()?)?;
        if crc32fast::hash(record) != checksum {
            return None;
        }
        let written = u64::from_be_bytes(*record.split_off(..8)?.first_chunk()?);
        let written = (written > 0).then(|| Duration::from_secs(written));
        let age = u32::from_be_bytes(*record.split_off(..4)?.first_chunk()?);
        let age = Duration::from_secs(age.into());
        let side = if *record.split_off_first()? == 0 { Side::Domestic } else { Side::Trusted };
        let mut field = || {
            let length = u16::from_be_bytes(*record.split_off(..2)?.first_chunk()?);
            record.split_off(..usize::from(length))
        };
        Some(FileRecord { written, age, side, key: field()?, message: field()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::reply::sample::{self, query, wire};
    use crate::dns::wire::{TCP_SIZE, rr};
    use hickory_proto::op::Message;
    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    const CLAMP_MAX: Duration = Duration::from_secs(86_400);

    fn clamp() -> Clamp {
        Clamp::new(Duration::ZERO, CLAMP_MAX)
    }

    fn later(now: Now, seconds: u64) -> Now {
        let seconds = Duration::from_secs(seconds);
        Now { steady: now.steady + seconds, wall: now.wall.map(|wall| wall + seconds) }
    }

    fn saved(now: Now) -> Vec<u8> {
        let message = wire(rr::A, 0, ["www.example.com 60 A 192.0.2.1", "", ""]);
        let stored = Stored::new(&Reply::parse(&message).unwrap(), Side::Domestic, clamp());
        let mut cache = Cache::new(10_000);
        cache.insert(&query("www.example.com", rr::A, None), stored, now.steady);
        let (bytes, next) = cache.save(later(now, 10), 0, 1000).unwrap();
        assert_eq!(next, 1);
        assert!(cache.save(now, next, 1000).is_none());
        bytes
    }

    fn load(
        cache: &mut Cache,
        mut file: &[u8],
        now: Now,
        fits: impl Fn(&Query, Side) -> bool,
    ) -> usize {
        let count = cache.load(&mut file, 10, clamp(), now, fits);
        assert!(file.is_empty());
        count
    }

    #[test]
    fn it_goes_in_pieces_and_what_is_newer_stays() {
        let now = Now::read();
        let put = |cache: &mut Cache, name: &str, address: &str| {
            let answer = format!("{name} 60 A {address}");
            let mut message = sample::message(rr::A, 0, [&answer, "", ""]);
            message.queries[0].set_name(Name::from_ascii(format!("{name}.")).unwrap());
            let message = message.to_vec().unwrap();
            let stored = Stored::new(&Reply::parse(&message).unwrap(), Side::Domestic, clamp());
            cache.insert(&query(name, rr::A, None), stored, now.steady);
        };
        let mut cache = Cache::new(100_000);
        for number in 0..10 {
            put(&mut cache, &format!("www{number}.example.com"), "192.0.2.1");
        }
        let (mut file, mut from, mut pieces) = (Vec::new(), 0, 0);
        while let Some((bytes, next)) = cache.save(now, from, 150) {
            file.extend(bytes);
            (from, pieces) = (next, pieces + 1);
        }
        assert!((4..10).contains(&pieces), "{pieces}");
        let mut next = Cache::new(100_000);
        put(&mut next, "www3.example.com", "192.0.2.3");
        let (mut rest, mut count) = (file.as_slice(), 0);
        while !rest.is_empty() {
            count += next.load(&mut rest, 3, clamp(), now, |_, _| true);
        }
        assert_eq!((count, next.len()), (9, 10));
        let asked = query("www3.example.com", rr::A, None);
        let mut out = Vec::new();
        next.get(&asked, now.steady).unwrap().write(&asked, TCP_SIZE, &mut out);
        let answer = Message::from_vec(&out).unwrap();
        assert_eq!(answer.answers[0].data.to_string(), "192.0.2.3");
    }

    #[test]
    fn an_answer_survives_and_has_aged() {
        let (start, asked) = (Now::read(), query("www.example.com", rr::A, None));
        let file = saved(start);
        let mut cache = Cache::new(10_000);
        let now = later(start, 40);
        assert_eq!(load(&mut cache, &file, now, |_, side| side == Side::Domestic), 1);
        let mut out = Vec::new();
        cache.get(&asked, now.steady).unwrap().write(&asked, TCP_SIZE, &mut out);
        assert_eq!(Message::from_vec(&out).unwrap().answers[0].ttl, 20);
        assert!(cache.get(&asked, later(start, 60).steady).is_none());
        assert!(cache.get_stale(&asked, later(start, 60).steady).is_some());
    }

    #[test]
    fn what_no_longer_fits_is_left_out() {
        let start = Now::read();
        let file = saved(start);
        let an_a = |file: &[u8], now| {
            load(&mut Cache::new(10_000), file, now, |query, _| query.qtype() == rr::A)
        };
        assert_eq!(an_a(&file, start), 1);
        assert_eq!(an_a(&file[..file.len() - 1], start), 0, "cut");
        assert_eq!(an_a(&file[1..], start), 0, "no record");
        assert_eq!(an_a(&file, later(start, 90_000)), 0, "too old");
        let refused = load(&mut Cache::new(10_000), &file, start, |_, _| false);
        assert_eq!(refused, 0);
    }

    #[test]
    fn without_a_clock_an_answer_counts_as_expired() {
        let (start, asked) = (Now::read(), query("www.example.com", rr::A, None));
        let behind = Now { wall: start.wall.map(|wall| wall - Duration::from_secs(5)), ..start };
        let none = Now { wall: None, ..start };
        for (written, read, what) in [
            (start, behind, "from the future"),
            (start, none, "read without a clock"),
            (none, start, "written without a clock"),
            (none, none, "never a clock"),
        ] {
            let file = saved(written);
            let mut cache = Cache::new(10_000);
            assert_eq!(load(&mut cache, &file, read, |_, _| true), 1, "{what}");
            assert!(cache.get(&asked, start.steady).is_none(), "{what}");
            assert!(cache.get_stale(&asked, start.steady).is_some(), "{what}");
            assert!(cache.get_stale(&asked, later(start, 90_000).steady).is_none(), "{what}");
        }
    }

    #[test]
    fn a_flipped_bit_is_no_answer() {
        let start = Now::read();
        let file = saved(start);
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(load(&mut Cache::new(10_000), &flipped, start, |_, _| true), 0, "{bit}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(at in 0usize..200, bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let start = Now::read();
            let mut file = saved(start);
            let at = at.min(file.len());
            let end = (at + bytes.len()).min(file.len());
            file.splice(at..end, bytes);
            load(&mut Cache::new(10_000), &file, start, |_, _| true);
        }
    }
}
