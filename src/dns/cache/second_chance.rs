//! A map bounded by weight, with second-chance ("clock") eviction.
//!
//! A hit costs one hash and sets one bit. When room is needed the hand goes round: what was used
//! since it last came by is spared once, what was not goes. So a flood of names that are asked
//! once cannot wash out the ones that are asked again and again. What the caller calls spent goes
//! before both, as far as the hand can see.

use std::collections::HashMap;
use std::sync::Arc;

/// How far the hand looks ahead for spent entries.
const SIGHT: usize = 16;

/// Everything an entry takes beside its key's and its value's own heap: a slot, a place in the
/// index, the counts of the shared key, and the allocator's headers. Vectors and tables double
/// when they grow and so may be half empty.
const fn overhead<V>() -> usize {
    let index = size_of::<(Arc<[u8]>, u32)>() + 1;
    2 * size_of::<Slot<V>>() + 2 * index * 8 / 7 + 2 * size_of::<usize>() + 3 * 16
}

#[derive(Debug)]
pub(super) struct SecondChance<V> {
    index: HashMap<Arc<[u8]>, u32>,
    slots: Vec<Slot<V>>,
    hand: usize,
    weight: usize,
    limit: usize,
}

#[derive(Debug)]
struct Slot<V> {
    key: Arc<[u8]>,
    value: V,
    weight: usize,
    /// Used since the hand came by.
    used: bool,
}

impl<V> SecondChance<V> {
    /// A map whose weight stays at or below `limit`.
    pub fn new(limit: usize) -> Self {
        SecondChance { index: HashMap::new(), slots: Vec::new(), hand: 0, weight: 0, limit }
    }

    /// Another limit; what is too much goes.
    pub fn resize(&mut self, limit: usize) {
        self.limit = limit;
        while self.weight > limit {
            self.evict(&|_| false);
        }
    }

    pub fn get(&mut self, key: &[u8]) -> Option<&mut V> {
        let number = *self.index.get(key)?;
        let slot = self.slots.get_mut(number as usize)?;
        slot.used = true;
        Some(&mut slot.value)
    }

    /// Puts in or replaces a value that takes `size` bytes of heap. What alone would be above the
    /// limit is not taken, but still displaces its predecessor.
    pub fn insert(&mut self, key: &[u8], value: V, size: usize, spent: impl Fn(&V) -> bool) {
        // The newcomer inherits what its predecessor earned.
        let used = self.remove(key).is_some_and(|slot| slot.used);
        let weight = key.len() + size + overhead::<V>();
        if weight > self.limit {
            return;
        }
        while self.weight + weight > self.limit {
            self.evict(&spent);
        }
        let Ok(number) = u32::try_from(self.slots.len()) else { return };
        let key: Arc<[u8]> = key.into();
        self.index.insert(Arc::clone(&key), number);
        self.slots.push(Slot { key, value, weight, used });
        self.weight += weight;
    }

    pub fn for_each_mut(&mut self, act: impl FnMut(&mut V)) {
        self.slots.iter_mut().map(|slot| &mut slot.value).for_each(act);
    }

    /// Whether there is one, without using it.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.index.contains_key(key)
    }

    /// From the one with this number on, which stays the same for as long as nothing is put in.
    pub fn iter_from(&self, number: usize) -> impl Iterator<Item = (&[u8], &V)> {
        let rest = self.slots.get(number..).unwrap_or_default();
        rest.iter().map(|slot| (&*slot.key, &slot.value))
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn weight(&self) -> usize {
        self.weight
    }

    fn evict(&mut self, spent: &impl Fn(&V) -> bool) {
        let count = self.slots.len();
        if count == 0 {
            return;
        }
        let ahead = (0..SIGHT.min(count)).map(|step| (self.hand + step) % count);
        if let Some(victim) = ahead.into_iter().find(|at| spent(&self.slots[*at].value)) {
            self.remove_at(victim);
            return;
        }
        loop {
            self.hand %= count;
            let slot = &mut self.slots[self.hand];
            if !slot.used {
                break;
            }
            slot.used = false;
            self.hand += 1;
        }
        // The last entry, the youngest, takes the place; the hand moves on past it.
        self.remove_at(self.hand);
        self.hand += 1;
    }

    fn remove(&mut self, key: &[u8]) -> Option<Slot<V>> {
        let number = *self.index.get(key)?;
        Some(self.remove_at(number as usize))
    }

    fn remove_at(&mut self, at: usize) -> Slot<V> {
        let slot = self.slots.swap_remove(at);
        self.index.remove(&slot.key);
        self.weight -= slot.weight;
        if let Some(moved) = self.slots.get(at)
            && let Some(number) = self.index.get_mut(&moved.key)
            && let Ok(at) = u32::try_from(at)
        {
            *number = at;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COST: usize = overhead::<u32>();

    fn clock(entries: usize) -> SecondChance<u32> {
        SecondChance::new(entries * (COST + 1))
    }

    fn put(clock: &mut SecondChance<u32>, key: u8, value: u32) {
        clock.insert(&[key], value, 0, |value| *value == 0);
    }

    #[test]
    fn what_is_used_survives_a_flood() {
        let mut clock = clock(10);
        put(&mut clock, 0, 1);
        for key in 1..100 {
            put(&mut clock, key, 1);
            assert!(clock.get(&[0]).is_some(), "lost when {key} came");
        }
        assert_eq!(clock.len(), 10);
    }

    #[test]
    fn what_is_not_used_goes() {
        let mut clock = clock(10);
        for key in 0..100 {
            put(&mut clock, key, 1);
        }
        assert!(clock.get(&[0]).is_none());
        assert!(clock.get(&[99]).is_some());
    }

    #[test]
    fn what_is_spent_goes_first() {
        let mut clock = clock(10);
        for key in 0..10 {
            put(&mut clock, key, u32::from(key != 7));
        }
        assert!(clock.get(&[7]).is_some(), "used, and spent all the same");
        put(&mut clock, 10, 1);
        assert!(clock.get(&[7]).is_none());
        assert_eq!(clock.len(), 10);
    }

    #[test]
    fn zero_keeps_nothing() {
        let mut clock = clock(0);
        put(&mut clock, 1, 1);
        assert_eq!((clock.len(), clock.weight()), (0, 0));
    }

    proptest! {
        #[test]
        fn bounded_and_true(
            limit in 0usize..3000,
            acts in prop::collection::vec((any::<bool>(), 0u8..40, 0usize..300), 0..300),
        ) {
            let mut clock = SecondChance::new(limit);
            let mut last = HashMap::new();
            for (number, (reads, key, size)) in (1u32..).zip(acts) {
                if reads {
                    if let Some(value) = clock.get(&[key]) {
                        prop_assert_eq!(Some(&*value), last.get(&key));
                    }
                } else {
                    clock.insert(&[key], number, size, |value| value % 3 == 0);
                    last.insert(key, number);
                    let fits = 1 + size + COST <= limit;
                    prop_assert_eq!(clock.get(&[key]).is_some(), fits);
                }
                prop_assert!(clock.weight() <= limit);
                let weights: usize = clock.slots.iter().map(|slot| slot.weight).sum();
                prop_assert_eq!(weights, clock.weight());
                prop_assert_eq!(clock.index.len(), clock.slots.len());
                for (number, slot) in (0u32..).zip(&clock.slots) {
                    prop_assert_eq!(clock.index.get(&slot.key), Some(&number));
                }
            }
        }
    }
}
