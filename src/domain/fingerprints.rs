//! What lists say of domain suffixes, eight bytes each: a keyed hash of the suffix and flags.
//!
//! Made for a million names on a small router, where the names themselves would take 20 MiB. The
//! price is that a name which is in no list may pass for one that is: with 55 bits of a hash, one
//! in 2^55 / (names in the list x labels of the name). With a million names and four labels that
//! is one name in nine thousand million. The hash (SipHash) has a key that this process drew, so
//! that neither the author of a list nor the owner of a name can look for such a pair.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// One key for all lists of the process, so that two readings of one file are equal.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The low bits of an entry are flags, the others belong to the hash.
const FLAG_BITS: u32 = 9;
const FLAGS: u64 = (1 << FLAG_BITS) - 1;

/// A name has 127 labels at most (RFC 1035, 2.3.4).
const MOST_LABELS: usize = 127;

/// Of ten slots at most seven are taken: a search then looks at two or three of them.
const SLOTS: usize = 10;
const TAKEN: usize = 7;

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

/// An open-addressing table of entries; immutable.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Fingerprints {
    /// 0 is a free slot.
    slots: Box<[u64]>,
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
        let count = if entries.is_empty() { 0 } else { entries.len() * SLOTS / TAKEN + 1 };
        let mut table = Fingerprints { slots: vec![0; count].into(), len: entries.len() };
        for entry in entries {
            let slot = table.slot(entry.fingerprint());
            table.slots[slot] = entry.0;
        }
        table
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
            let entry = self.slots[self.slot(hash << FLAG_BITS)];
            if entry != 0 {
                found(begin, NameEntry(entry).flags());
            }
        });
    }

    /// The slot with this fingerprint, or the free one where it belongs.
    fn slot(&self, fingerprint: u64) -> usize {
        let slots = self.slots.len();
        // The upper bits choose, by Lemire's multiplication instead of a remainder.
        let mut slot = ((u128::from(fingerprint) * slots as u128) >> 64) as usize;
        while self.slots[slot] != 0 && self.slots[slot] & !FLAGS != fingerprint {
            slot = if slot + 1 == slots { 0 } else { slot + 1 };
        }
        slot
    }
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
