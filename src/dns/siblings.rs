//! A and AAAA of one name are usually asked for together: as soon as one is judged domestic, the
//! other is told, since its "no address" is then to be believed.

use super::wire::{Query, rr};
use std::cell::RefCell;
use std::collections::HashMap;

/// The judgements of this moment, by name; `T` tells one of them that its sibling was domestic.
#[derive(Debug)]
pub(super) struct Siblings<T>(RefCell<HashMap<Box<[u8]>, Judged<T>>>);

/// The judgements about one name, each with its type.
type Judged<T> = Vec<(u16, T)>;

/// A judgement that can be told; leaves when dropped.
#[derive(Debug)]
pub(super) struct Entered<'a, T> {
    siblings: &'a Siblings<T>,
    query: &'a Query,
}

impl<T> Default for Siblings<T> {
    fn default() -> Self {
        Siblings(RefCell::default())
    }
}

impl<T> Siblings<T> {
    /// A judgement begins.
    pub(super) fn enter<'a>(&'a self, query: &'a Query, tell: T) -> Entered<'a, T> {
        let mut names = self.0.borrow_mut();
        names.entry(query.name().into()).or_default().push((query.qtype(), tell));
        Entered { siblings: self, query }
    }

    /// The addresses that `query` asks for are domestic: `tell` is called for each judgement about
    /// the name's others.
    pub(super) fn was_domestic(&self, query: &Query, tell: impl Fn(&T)) {
        let sibling = match query.qtype() {
            rr::A => rr::AAAA,
            rr::AAAA => rr::A,
            _ => return,
        };
        let names = self.0.borrow();
        let judged = names.get(query.name()).into_iter().flatten();
        judged.filter(|(qtype, _)| *qtype == sibling).for_each(|(_, told)| tell(told));
    }
}

impl<T> Drop for Entered<'_, T> {
    fn drop(&mut self) {
        let mut names = self.siblings.0.borrow_mut();
        let Some(judged) = names.get_mut(self.query.name()) else { return };
        // Two of one type (with DO and without) are told the same: either may go.
        if let Some(place) = judged.iter().position(|(qtype, _)| *qtype == self.query.qtype()) {
            judged.swap_remove(place);
        }
        if judged.is_empty() {
            names.remove(self.query.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn only_the_other_address_type_of_the_name_is_told() {
        let query = |name: &str, qtype| Query::new(&name.parse().unwrap(), qtype);
        let siblings = Siblings::default();
        let (a, aaaa) = (query("a.example", rr::A), query("a.example", rr::AAAA));
        let told = Cell::new(0);
        let tell = |(): &()| told.set(told.get() + 1);
        let first = siblings.enter(&a, ());
        siblings.was_domestic(&a, tell);
        siblings.was_domestic(&query("b.example", rr::AAAA), tell);
        siblings.was_domestic(&query("a.example", rr::HTTPS), tell);
        assert_eq!(told.get(), 0);
        siblings.was_domestic(&aaaa, tell);
        assert_eq!(told.get(), 1);
        drop(first);
        siblings.was_domestic(&aaaa, tell);
        assert_eq!((told.get(), siblings.0.borrow().len()), (1, 0));
    }
}
