//! What was judged about names, so that other types follow the address verdict.

use super::clock::Clock;
use crate::dns::wire::rr;
use std::time::{Duration, Instant};

/// Whose name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The domestic servers' answer was taken: it held a domestic address.
    Domestic,
    /// The domestic servers' answer was forged, or foreign.
    Foreign,
}

/// Verdicts by name and address type. The name is given in lower-case wire form, as
/// [`Query::name`](crate::dns::wire::Query::name) has it.
#[derive(Debug)]
pub struct Verdicts {
    entries: Clock<(Verdict, Instant)>,
}

impl Verdicts {
    /// A memory of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Verdicts { entries: Clock::new(limit) }
    }

    /// Remembers a verdict about the name's addresses of one type for `lifetime`.
    pub fn insert(
        &mut self,
        name: &[u8],
        qtype: u16,
        verdict: Verdict,
        lifetime: Duration,
        now: Instant,
    ) {
        let entry = (verdict, now + lifetime);
        with_key(name, qtype, |key| {
            self.entries.insert(key, entry, 0, |(_, expiry)| *expiry <= now);
        });
    }

    /// The verdict about the name's addresses of one type.
    pub fn get(&mut self, name: &[u8], qtype: u16, now: Instant) -> Option<Verdict> {
        let (verdict, expiry) = with_key(name, qtype, |key| self.entries.get(key).copied())?;
        (now < expiry).then_some(verdict)
    }

    /// Whether the name's other address type was judged domestic; `false` for types that are no
    /// address.
    pub fn sibling_was_cn(&mut self, name: &[u8], qtype: u16, now: Instant) -> bool {
        let sibling = match qtype {
            rr::A => rr::AAAA,
            rr::AAAA => rr::A,
            _ => return false,
        };
        self.get(name, sibling, now) == Some(Verdict::Domestic)
    }

    /// The verdict that other types (MX, TXT, HTTPS, ...) of the name follow: that of A, else that
    /// of AAAA.
    pub fn of_name(&mut self, name: &[u8], now: Instant) -> Option<Verdict> {
        self.get(name, rr::A, now).or_else(|| self.get(name, rr::AAAA, now))
    }
}

/// Puts name and type together without an allocation.
fn with_key<T>(name: &[u8], qtype: u16, act: impl FnOnce(&[u8]) -> T) -> T {
    let mut key = [0; 257];
    // Names have at most 255 bytes.
    let length = name.len().min(255);
    key[..length].copy_from_slice(&name[..length]);
    key[length..length + 2].copy_from_slice(&qtype.to_be_bytes());
    act(&key[..length + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_expire_and_types_differ() {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let mut verdicts = Verdicts::new(10_000);
        let name = b"\x01a\x00";
        verdicts.insert(name, rr::A, Verdict::Domestic, minute, now);
        assert_eq!(verdicts.get(name, rr::A, now), Some(Verdict::Domestic));
        assert_eq!(verdicts.get(name, rr::AAAA, now), None);
        assert!(verdicts.sibling_was_cn(name, rr::AAAA, now));
        assert!(!verdicts.sibling_was_cn(name, rr::A, now));
        assert!(!verdicts.sibling_was_cn(name, rr::HTTPS, now));
        assert_eq!(verdicts.of_name(name, now), Some(Verdict::Domestic));
        assert_eq!(verdicts.get(name, rr::A, now + minute), None);
        verdicts.insert(name, rr::AAAA, Verdict::Foreign, minute, now + minute);
        assert_eq!(verdicts.of_name(name, now + minute), Some(Verdict::Foreign));
    }
}
