//! What lists say of domain suffixes, eight bytes each: a keyed hash of the suffix and flags.
//!
//! Made for a million names on a small router, where the names themselves would take 20 MiB. The
//! price is that a name which is in no list may pass for one that is: with 55 bits of a hash, one
//! in 2^55 / (names in the list x labels of the name). With a million names and four labels that
//! is one name in nine thousand million. The hash (SipHash) has a key that this process drew, so
//! that neither the author of a list nor the owner of a name can look for such a pair.
//!
//! Memory that is in no cache is what a look-up waits for: each of a name's suffixes would be a
//! place of its own. So a filter of ten bits a name stands before the table (a Bloom filter whose
//! bits for one name are in one word): it fits into a cache, and most of what is in no list ends
//! there. An entry lies in one cache line, which is looked through without a branch.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// One key for all lists of the process, so that two readings of one file are equal.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The low bits of an entry are flags, the others belong to the hash.
const FLAG_BITS: u32 = 9;
const FLAGS: u64 = (1 << FLAG_BITS) - 1;

/// A name has 127 labels at most (RFC 1035, 2.3.4).
const MOST_LABELS: usize = 127;

/// Of ten slots at most seven are taken, so that few buckets are full.
const SLOTS: usize = 10;
const TAKEN: usize = 7;

/// Slots of a bucket.
const BUCKET: usize = 8;

/// Bits of the filter for a name. Three in a hundred that are in no list pass.
const FILTER_BITS: usize = 10;

/// An entry of the table: never 0, since there is at least one flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameEntry(u64);

impl NameEntry {
    /// `flags` must be below 512 and not 0.
    pub(super) fn new(name: &[u8], flags: u16) -> Self {
        let mut hash = 0;
        suffixes(name, |_, of_suffix| hash = of_suffix);
        NameEntry((hash << FLAG_BITS) | (u64::from(flags) & FLAGS))
    }

    fn fingerprint(self) -> u64 {
        self.0 & !FLAGS
    }

    fn flags(self) -> u16 {
        (self.0 & FLAGS) as u16
    }
}

/// Slots that are looked at together: a cache line. They are filled in order, and 0 is a free one.
/// What finds its bucket full is in the next one that is not.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
struct Bucket([u64; BUCKET]);

/// A table of entries, and the filter before it; immutable.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Fingerprints {
    filter: Box<[u64]>,
    buckets: Box<[Bucket]>,
    len: usize,
}

impl Fingerprints {
    /// Flags of the same name are joined; those of `cancelled` are taken away.
    pub(super) fn new(mut entries: Vec<NameEntry>, cancelled: &[NameEntry]) -> Self {
        entries.sort_unstable();
        entries.dedup_by(|later, kept| {
            let same = later.fingerprint() == kept.fingerprint();
            if same {
                kept.0 |= later.0;
            }
            same
        });
        for cancel in cancelled {
            let found = entries.binary_search_by_key(&cancel.fingerprint(), |it| it.fingerprint());
            if let Ok(at) = found {
                entries[at].0 &= !u64::from(cancel.flags());
            }
        }
        entries.retain(|entry| entry.flags() != 0);
        let len = entries.len();
        if len == 0 {
            return Fingerprints::default();
        }
        let mut table = Fingerprints {
            filter: vec![0; len * FILTER_BITS / 64 + 1].into(),
            buckets: vec![Bucket([0; BUCKET]); len * SLOTS / (TAKEN * BUCKET) + 1].into(),
            len,
        };
        for entry in entries {
            table.insert(entry);
        }
        table
    }

    /// One that is not there yet.
    fn insert(&mut self, entry: NameEntry) {
        let fingerprint = entry.fingerprint();
        self.filter[place(fingerprint, self.filter.len())] |= filter_bits(fingerprint);
        let mut at = place(fingerprint, self.buckets.len());
        // There are more slots than entries.
        loop {
            if let Some(free) = self.buckets[at].0.iter_mut().find(|slot| **slot == 0) {
                *free = entry.0;
                return;
            }
            at = (at + 1) % self.buckets.len();
        }
    }

    /// The number of names.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Calls `found` with each suffix of the name that has an entry, the shortest first: where
    /// it begins, and its flags. The name is in lower-case wire form.
    pub(super) fn each(&self, name: &[u8], mut found: impl FnMut(usize, u16)) {
        if self.len == 0 {
            return;
        }
        suffixes(name, |begin, hash| {
            if let Some(entry) = self.find(hash << FLAG_BITS) {
                found(begin, entry.flags());
            }
        });
    }

    fn find(&self, fingerprint: u64) -> Option<NameEntry> {
        let bits = filter_bits(fingerprint);
        if self.filter[place(fingerprint, self.filter.len())] & bits != bits {
            return None;
        }
        let mut at = place(fingerprint, self.buckets.len());
        loop {
            let Bucket(slots) = &self.buckets[at];
            let is_it = |slot: u64| slot & !FLAGS == fingerprint;
            // Which slot it is would be a guess that the processor gets wrong.
            let found =
                slots.iter().fold(0, |found, slot| found | if is_it(*slot) { *slot } else { 0 });
            if found != 0 {
                return Some(NameEntry(found));
            }
            if slots[BUCKET - 1] == 0 {
                return None;
            }
            at = (at + 1) % self.buckets.len();
        }
    }
}

/// One of so many places. The upper bits choose, by Lemire's multiplication instead of a remainder.
fn place(fingerprint: u64, places: usize) -> usize {
    ((u128::from(fingerprint) * places as u128) >> 64) as usize
}

/// Four bits of a word, chosen by the lower bits of the hash.
fn filter_bits(fingerprint: u64) -> u64 {
    let bit = |number: u32| 1 << ((fingerprint >> (FLAG_BITS + 6 * number)) & 63);
    bit(0) | bit(1) | bit(2) | bit(3)
}

/// The hash of each suffix, the shortest first, without the root: one pass over the name.
fn suffixes(name: &[u8], mut each: impl FnMut(usize, u64)) {
    let mut begins = [0u8; MOST_LABELS];
    let (mut count, mut at) = (0, 0);
    while let Some(length) = name.get(at).filter(|length| **length != 0)
        && let Some(begin) = begins.get_mut(count)
    {
        *begin = at as u8;
        count += 1;
        at += 1 + usize::from(*length);
    }
    let mut hasher: DefaultHasher = KEY.build_hasher();
    let mut end = at.min(name.len());
    for begin in begins[..count].iter().rev().map(|begin| usize::from(*begin)) {
        // The length byte stands first, so that no two rows of labels are written alike.
        hasher.write(&name[begin..end]);
        each(begin, hasher.finish());
        end = begin;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of one label.
    fn name(number: usize) -> Vec<u8> {
        let label = format!("n{number}");
        [&[label.len() as u8], label.as_bytes(), &[0]].concat()
    }

    fn table(names: usize) -> Fingerprints {
        let entries = (0..names).map(|number| NameEntry::new(&name(number), 1)).collect();
        Fingerprints::new(entries, &[])
    }

    fn has(table: &Fingerprints, number: usize) -> bool {
        let mut found = false;
        table.each(&name(number), |_, flags| found |= flags == 1);
        found
    }

    #[test]
    fn of_any_size() {
        for names in (0..200).chain([1_000, 10_007]) {
            let table = table(names);
            assert_eq!(table.len(), names);
            assert!((0..names).all(|number| has(&table, number)), "{names}");
            assert!(!(names..names + 200).any(|number| has(&table, number)), "{names}");
        }
    }

    #[test]
    fn a_bucket_that_is_full_is_continued_in_the_next() {
        // The upper bits choose the bucket: all of these belong into the last one, and flow over
        // into the first.
        let full = |number: u64| NameEntry((!FLAGS - (number << FLAG_BITS)) | 1);
        let entries: Vec<NameEntry> = (0..20).map(full).collect();
        let table = Fingerprints::new(entries.clone(), &[]);
        assert_eq!(table.buckets.len(), 4);
        for entry in entries {
            assert_eq!(table.find(entry.fingerprint()), Some(entry));
        }
        for number in 20..2_000 {
            assert_eq!(table.find(full(number).fingerprint()), None);
        }
    }

    #[test]
    fn the_filter_lets_few_pass() {
        let table = table(10_000);
        let passes = |number: &usize| {
            let fingerprint = NameEntry::new(&name(*number), 0).fingerprint();
            let bits = filter_bits(fingerprint);
            table.filter[place(fingerprint, table.filter.len())] & bits == bits
        };
        let passed = (10_000..110_000).filter(passes).count();
        assert!((1_000..5_000).contains(&passed), "{passed} of 100,000");
        let bytes = table.filter.len() * 8 + table.buckets.len() * 64;
        assert!(bytes < 13 * 10_000, "{bytes}");
    }
}
