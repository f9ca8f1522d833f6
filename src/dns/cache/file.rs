//! `dns.cache-file`: answers kept over a restart.
//!
//! The file holds a line that names its format, then for each answer: when it came (seconds of the
//! Unix epoch, eight bytes), who said it (one byte), and with two bytes of length each the key and
//! the message. It is read with suspicion: what does not fit ends the reading.

use super::{Cache, STALE_FOR};
use crate::dns::reply::{Clamp, Reply, Side, Stored};
use crate::dns::wire::Query;
use crate::domain::Name;
use crate::kept_file::KeptFormat;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How the file begins.
pub const FORMAT: KeptFormat = KeptFormat { head: b"snet dns cache ", line: b"snet dns cache 1\n" };

/// One moment on both clocks: the file counts by the wall, the cache does not.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The steady clock.
    pub steady: Instant,
    /// Since the Unix epoch.
    pub wall: Duration,
}

impl Now {
    /// Looks at both clocks.
    pub fn read() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { steady: Instant::now(), wall }
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
            out.extend(now.wall.saturating_sub(age).as_secs().to_be_bytes());
            out.push(u8::from(entry.stored.side() == Side::Trusted));
            out.extend(key_length.to_be_bytes());
            out.extend(key);
            out.extend(length.to_be_bytes());
            out.extend(message);
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
        // One from the future was written when the clock was wrong.
        let age = now.wall.checked_sub(record.came)?;
        let birth = now.steady.checked_sub(age)?;
        let stored = Stored::new(&reply, record.side, clamp);
        let lifetime = Duration::from_secs(stored.lifetime().into());
        let is_known = self.entries.contains(record.key);
        if !is_known && !lifetime.is_zero() && age < lifetime + STALE_FOR {
            self.put(record.key, stored, birth, now.steady);
        }
        Some(())
    }
}

struct FileRecord<'a> {
    /// Since the Unix epoch.
    came: Duration,
    side: Side,
    key: &'a [u8],
    message: &'a [u8],
}

impl<'a> FileRecord<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<FileRecord<'a>> {
        let came = Duration::from_secs(u64::from_be_bytes(*rest.split_off(..8)?.first_chunk()?));
        let side = if *rest.split_off_first()? == 0 { Side::Domestic } else { Side::Trusted };
        let mut field = || {
            let length = u16::from_be_bytes(*rest.split_off(..2)?.first_chunk()?);
            rest.split_off(..usize::from(length))
        };
        Some(FileRecord { came, side, key: field()?, message: field()? })
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
        Now { steady: now.steady + seconds, wall: now.wall + seconds }
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
        let past = Now { wall: start.wall - Duration::from_secs(5), ..start };
        assert_eq!(an_a(&file, past), 0, "from the future");
        let refused = load(&mut Cache::new(10_000), &file, start, |_, _| false);
        assert_eq!(refused, 0);
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
