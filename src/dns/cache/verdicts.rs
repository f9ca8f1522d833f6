//! What was judged about names, so that other types follow the address verdict.
//!
//! Whose name it is changes far less often than its addresses: verdicts have lifetimes of their
//! own. *Flip rule*: a name that was domestic and is judged foreign is foreign from then on, since
//! that is the safe side; one that was foreign has to be judged domestic twice, since a single
//! domestic address may be an accident of a content network, or a forger's warning page.

use super::second_chance::SecondChance;
use crate::dns::wire::rr;
use std::time::{Duration, Instant};

/// Whose name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameVerdict {
    /// The domestic servers' answer was taken: it held a domestic address.
    Domestic,
    /// The domestic servers' answer was forged, or foreign.
    Foreign,
}

/// A domestic site may move abroad, or fall out of favour.
const DOMESTIC_FOR: Duration = Duration::from_secs(3600);

/// What is forged stays forged.
const FOREIGN_FOR: Duration = Duration::from_secs(6 * 3600);

/// Verdicts by name and address type. The name is given in lower-case wire form, as
/// [`Query::name`](crate::dns::wire::Query::name) has it.
#[derive(Debug)]
pub struct Verdicts {
    entries: SecondChance<JudgedName>,
}

#[derive(Clone, Copy, Debug)]
struct JudgedName {
    verdict: NameVerdict,
    expiry: Instant,
    /// The opposite was judged since.
    doubted: bool,
}

impl Verdicts {
    /// A memory of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Verdicts { entries: SecondChance::new(limit) }
    }

    /// Remembers a verdict about the name's addresses of one type, as the flip rule has it.
    pub fn note(&mut self, name: &[u8], qtype: u16, verdict: NameVerdict, now: Instant) {
        let lifetime = match verdict {
            NameVerdict::Domestic => DOMESTIC_FOR,
            NameVerdict::Foreign => FOREIGN_FOR,
        };
        let mut entry = JudgedName { verdict, expiry: now + lifetime, doubted: false };
        with_key(name, qtype, |key| {
            if verdict == NameVerdict::Domestic
                && let Some(former) = self.entries.get(key)
                && former.verdict == NameVerdict::Foreign
                && now < former.expiry
                && !former.doubted
            {
                entry = JudgedName { doubted: true, ..*former };
            }
            self.entries.insert(key, entry, 0, |entry| entry.expiry <= now);
        });
    }

    /// The verdict about the name's addresses of one type.
    pub fn get(&mut self, name: &[u8], qtype: u16, now: Instant) -> Option<NameVerdict> {
        let entry = with_key(name, qtype, |key| self.entries.get(key).copied())?;
        (now < entry.expiry).then_some(entry.verdict)
    }

    /// Whether the name's other address type was judged domestic; `false` for types that are no
    /// address.
    pub fn sibling_was_cn(&mut self, name: &[u8], qtype: u16, now: Instant) -> bool {
        let sibling = match qtype {
            rr::A => rr::AAAA,
            rr::AAAA => rr::A,
            _ => return false,
        };
        self.get(name, sibling, now) == Some(NameVerdict::Domestic)
    }

    /// The verdict that other types (MX, TXT, HTTPS, ...) of the name follow: that of A, else that
    /// of AAAA.
    pub fn of_name(&mut self, name: &[u8], now: Instant) -> Option<NameVerdict> {
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

    const NAME: &[u8] = b"\x01a\x00";

    #[test]
    fn verdicts_expire_and_types_differ() {
        let now = Instant::now();
        let mut verdicts = Verdicts::new(10_000);
        verdicts.note(NAME, rr::A, NameVerdict::Domestic, now);
        assert_eq!(verdicts.get(NAME, rr::A, now), Some(NameVerdict::Domestic));
        assert_eq!(verdicts.get(NAME, rr::AAAA, now), None);
        assert!(verdicts.sibling_was_cn(NAME, rr::AAAA, now));
        assert!(!verdicts.sibling_was_cn(NAME, rr::A, now));
        assert!(!verdicts.sibling_was_cn(NAME, rr::HTTPS, now));
        assert_eq!(verdicts.of_name(NAME, now), Some(NameVerdict::Domestic));
        let later = now + DOMESTIC_FOR;
        assert_eq!(verdicts.get(NAME, rr::A, later), None);
        verdicts.note(NAME, rr::AAAA, NameVerdict::Foreign, later);
        assert_eq!(verdicts.of_name(NAME, later), Some(NameVerdict::Foreign));
    }

    #[test]
    fn foreign_at_once_and_domestic_at_the_second_word() {
        use NameVerdict::{Domestic, Foreign};
        let now = Instant::now();
        let after = |verdicts: &[NameVerdict]| {
            let mut memory = Verdicts::new(10_000);
            verdicts.iter().for_each(|verdict| memory.note(NAME, rr::A, *verdict, now));
            memory.get(NAME, rr::A, now).unwrap()
        };
        assert_eq!(after(&[Domestic, Foreign]), Foreign);
        assert_eq!(after(&[Foreign, Domestic]), Foreign);
        assert_eq!(after(&[Foreign, Domestic, Domestic]), Domestic);
        assert_eq!(after(&[Foreign, Domestic, Foreign, Domestic]), Foreign, "twice in a row");
        assert_eq!(after(&[Domestic, Foreign, Domestic, Domestic, Foreign]), Foreign);
        let mut memory = Verdicts::new(10_000);
        memory.note(NAME, rr::A, Foreign, now);
        memory.note(NAME, rr::A, Domestic, now + FOREIGN_FOR);
        assert_eq!(memory.get(NAME, rr::A, now + FOREIGN_FOR), Some(Domestic), "long forgotten");
    }
}
