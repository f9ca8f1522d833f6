//! From domain suffixes to values; the longest suffix wins.
//!
//! Made for lists of a hundred thousand names on a small router: all names lie in one arena of
//! bytes, and an open-addressing table of 32-bit numbers finds them. A lookup allocates nothing.

use super::Name;
use std::hash::{BuildHasher, RandomState};

/// Marks a free slot.
const FREE: u32 = u32::MAX;

/// From domain suffixes to values; the longest suffix wins: with `example.com` in the map,
/// `www.example.com` is found and `badexample.com` is not.
#[derive(Clone, Debug)]
pub struct DomainMap<T> {
    /// The wire forms, one behind the other.
    arena: Vec<u8>,
    /// Where each name begins in the arena, and its value.
    entries: Vec<(u32, T)>,
    /// Numbers of entries; the length is a power of two, at least a quarter is free.
    slots: Vec<u32>,
    /// Keyed, since the authors of block lists choose the names.
    hasher: RandomState,
}

/// The same names with the same values, given in the same order, as a file read again gives them.
impl<T: PartialEq> PartialEq for DomainMap<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries && self.arena == other.arena
    }
}

impl<T> Default for DomainMap<T> {
    fn default() -> Self {
        DomainMap {
            arena: Vec::new(),
            entries: Vec::new(),
            slots: Vec::new(),
            hasher: RandomState::new(),
        }
    }
}

impl<T> DomainMap<T> {
    /// Adds a suffix; the last value given for a name counts. Returns the former value.
    pub fn insert(&mut self, name: &Name, value: T) -> Option<T> {
        if self.entries.len() * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let slot = self.slot(name.as_wire());
        if let Some((_, present)) = self.entries.get_mut(self.slots[slot] as usize) {
            return Some(std::mem::replace(present, value));
        }
        // 4 GiB of names do not fit into the machines this runs on.
        self.slots[slot] = self.entries.len() as u32;
        self.entries.push((self.arena.len() as u32, value));
        self.arena.extend_from_slice(name.as_wire());
        None
    }

    /// The value of the longest suffix of `name`, given in lower-case wire form; the name itself
    /// is its longest suffix.
    pub fn lookup(&self, name: &[u8]) -> Option<&T> {
        self.longest(name).map(|(_, value)| value)
    }

    /// The same, with the suffix.
    pub fn longest<'a>(&self, name: &'a [u8]) -> Option<(&'a [u8], &T)> {
        if self.entries.is_empty() {
            return None;
        }
        let mut suffix = name;
        loop {
            if let Some(value) = self.get(suffix) {
                return Some((suffix, value));
            }
            let length = usize::from(*suffix.first()?);
            if length == 0 {
                return None;
            }
            suffix = suffix.get(1 + length..)?;
        }
    }

    /// The value of exactly this name.
    pub fn get(&self, name: &[u8]) -> Option<&T> {
        if self.slots.is_empty() {
            return None;
        }
        self.entries.get(self.slots[self.slot(name)] as usize).map(|(_, value)| value)
    }

    /// Gives back memory that further names would need.
    pub fn shrink_to_fit(&mut self) {
        self.arena.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// The values, in the order in which their names were added.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// The number of suffixes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The slot that holds the name, or the free one where it belongs.
    fn slot(&self, name: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hash(name) & mask;
        loop {
            match self.entries.get(self.slots[slot] as usize) {
                Some((begin, _)) if !self.arena[*begin as usize..].starts_with(name) => {
                    slot = (slot + 1) & mask;
                }
                _ => return slot,
            }
        }
    }

    fn hash(&self, name: &[u8]) -> usize {
        self.hasher.hash_one(name) as usize
    }

    fn grow(&mut self) {
        self.slots = vec![FREE; (self.slots.len() * 2).max(8)];
        for number in 0..self.entries.len() {
            let begin = self.entries[number].0 as usize;
            let end = self.entries.get(number + 1).map_or(self.arena.len(), |next| next.0 as usize);
            let slot = self.slot(&self.arena[begin..end]);
            self.slots[slot] = number as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_suffix_wins() {
        let mut map = DomainMap::default();
        assert_eq!(map.lookup(name("example.com").as_wire()), None);
        map.insert(&name("com"), 1);
        map.insert(&name("example.com"), 2);
        map.insert(&name("a.b.example.com"), 3);
        let find = |text| map.lookup(name(text).as_wire()).copied();
        assert_eq!(find("example.com"), Some(2));
        assert_eq!(find("b.example.com"), Some(2));
        assert_eq!(find("x.a.b.example.com"), Some(3));
        assert_eq!(find("badexample.com"), Some(1));
        assert_eq!(find("example.org"), None);
    }

    #[test]
    fn the_last_value_counts() {
        let mut map = DomainMap::default();
        assert_eq!(map.insert(&name("a"), 1), None);
        assert_eq!(map.insert(&name("a"), 2), Some(1));
        assert_eq!((map.len(), map.get(name("a").as_wire())), (1, Some(&2)));
    }

    #[test]
    fn the_root_catches_all() {
        let mut map = DomainMap::default();
        map.insert(&name("."), ());
        assert!(map.lookup(name("anything.example").as_wire()).is_some());
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_map(
            names in prop::collection::vec("[ab]{1,3}(\\.[ab]{1,2}){0,3}", 0..300),
        ) {
            let mut map = DomainMap::default();
            let mut model = HashMap::new();
            for (number, text) in names.iter().enumerate() {
                let before = model.insert(text.clone(), number);
                prop_assert_eq!(map.insert(&name(text), number), before);
            }
            prop_assert_eq!(map.len(), model.len());
            for text in &names {
                prop_assert_eq!(map.get(name(text).as_wire()), model.get(text));
                let deeper = format!("x.{text}");
                prop_assert_eq!(map.lookup(name(&deeper).as_wire()), model.get(text));
            }
        }
    }
}
