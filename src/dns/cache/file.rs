//! `dns.cache-file`: answers kept over a restart.
//!
//! The file holds a line that names its format, then for each answer: when it came (seconds of the
//! Unix epoch, eight bytes), who said it (one byte), and with two bytes of length each the key and
//! the message. It is read with suspicion: what does not fit ends the reading.

use super::{Cache, STALE_FOR};
use crate::dns::reply::{Clamp, Reply, Side, Stored};
use crate::dns::wire::Query;
use crate::domain::Name;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const FORMAT: &[u8] = b"snet dns cache 1\n";

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
    /// The file's content.
    pub fn save(&self, now: Now) -> Vec<u8> {
        let mut out = FORMAT.to_vec();
        for (key, entry) in self.entries.iter() {
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
        out
    }

    /// Takes over what a file holds and `fits` says is still right. Returns the number of answers.
    pub fn load(
        &mut self,
        file: &[u8],
        clamp: Clamp,
        now: Now,
        fits: impl Fn(&Query, Side) -> bool,
    ) -> usize {
        let before = self.len();
        let mut rest = file.strip_prefix(FORMAT).unwrap_or_default();
        while let Some(record) = Record::take(&mut rest) {
            self.restore(&record, clamp, now, &fits);
        }
        self.len() - before
    }

    fn restore(
        &mut self,
        record: &Record<'_>,
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
        if !lifetime.is_zero() && age < lifetime + STALE_FOR {
            self.put(record.key, stored, birth, now.steady);
        }
        Some(())
    }
}

struct Record<'a> {
    /// Since the Unix epoch.
    came: Duration,
    side: Side,
    key: &'a [u8],
    message: &'a [u8],
}

impl<'a> Record<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Record<'a>> {
        let came = Duration::from_secs(u64::from_be_bytes(*rest.split_off(..8)?.first_chunk()?));
        let side = if *rest.split_off_first()? == 0 { Side::Domestic } else { Side::Trusted };
        let mut field = || {
            let length = u16::from_be_bytes(*rest.split_off(..2)?.first_chunk()?);
            rest.split_off(..usize::from(length))
        };
        Some(Record { came, side, key: field()?, message: field()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::reply::sample::{query, wire};
    use crate::dns::wire::{TCP_SIZE, rr};
    use hickory_proto::op::Message;
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
        cache.save(later(now, 10))
    }

    #[test]
    fn an_answer_survives_and_has_aged() {
        let (start, asked) = (Now::read(), query("www.example.com", rr::A, None));
        let file = saved(start);
        let mut cache = Cache::new(10_000);
        let now = later(start, 40);
        assert_eq!(cache.load(&file, clamp(), now, |_, side| side == Side::Domestic), 1);
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
        let load = |file: &[u8], now| {
            Cache::new(10_000).load(file, clamp(), now, |query, _| query.qtype() == rr::A)
        };
        assert_eq!(load(&file, start), 1);
        assert_eq!(load(&file[..file.len() - 1], start), 0, "cut");
        assert_eq!(load(&file[1..], start), 0, "another format");
        assert_eq!(load(&file, later(start, 90_000)), 0, "too old");
        let past = Now { wall: start.wall - Duration::from_secs(5), ..start };
        assert_eq!(load(&file, past), 0, "from the future");
        let refused = Cache::new(10_000).load(&file, clamp(), start, |_, _| false);
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
            Cache::new(10_000).load(&file, clamp(), start, |_, _| true);
        }
    }
}
