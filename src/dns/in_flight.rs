//! Questions on their way: each is asked once, however many clients wait for it (singleflight).

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use tokio::sync::oneshot;

/// The questions of this moment, by key, and their waiters.
#[derive(Debug)]
pub(super) struct InFlight<T>(RefCell<HashMap<Box<[u8]>, Waiters<T>>>);

type Waiters<T> = Vec<oneshot::Sender<Rc<T>>>;

/// A question of which nothing was in flight. It ends when this is dropped, also by a panic: its
/// waiters must not wait for ever.
#[derive(Debug)]
pub(super) struct FlightGuard<'a, T> {
    in_flight: &'a InFlight<T>,
    key: &'a [u8],
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        InFlight(RefCell::default())
    }
}

impl<T> InFlight<T> {
    /// Waits for the result of a question. True if it is not in flight yet: then the caller has to
    /// [begin](InFlight::begin) it.
    pub(super) fn join(&self, key: &[u8]) -> (oneshot::Receiver<Rc<T>>, bool) {
        let (waiter, result) = oneshot::channel();
        let mut flights = self.0.borrow_mut();
        let is_first = match flights.get_mut(key) {
            Some(waiters) => {
                waiters.push(waiter);
                false
            }
            None => {
                flights.insert(key.into(), vec![waiter]);
                true
            }
        };
        (result, is_first)
    }

    /// The question is being asked until the guard is dropped.
    pub(super) fn begin<'a>(&'a self, key: &'a [u8]) -> FlightGuard<'a, T> {
        FlightGuard { in_flight: self, key }
    }

    fn end(&self, key: &[u8]) -> Waiters<T> {
        self.0.borrow_mut().remove(key).unwrap_or_default()
    }
}

impl<T> FlightGuard<'_, T> {
    /// Gives all waiters the result.
    pub(super) fn finish(self, result: T) {
        let result = Rc::new(result);
        for waiter in self.in_flight.end(self.key) {
            // A client that has left needs no answer.
            let _ = waiter.send(Rc::clone(&result));
        }
    }
}

impl<T> Drop for FlightGuard<'_, T> {
    fn drop(&mut self) {
        drop(self.in_flight.end(self.key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot::error::TryRecvError;

    #[tokio::test]
    async fn a_question_is_asked_once_and_a_flight_that_dies_leaves_no_waiter() {
        let in_flight = InFlight::default();
        let (first, is_first) = in_flight.join(b"a");
        let (second, also_first) = in_flight.join(b"a");
        assert!(is_first && !also_first && in_flight.join(b"b").1);
        in_flight.begin(b"a").finish(7);
        assert_eq!((*first.await.unwrap(), *second.await.unwrap()), (7, 7));
        let (mut lost, is_first) = in_flight.join(b"a");
        assert!(is_first, "the former one has ended");
        drop(in_flight.begin(b"a"));
        assert_eq!(lost.try_recv(), Err(TryRecvError::Closed));
        assert!(in_flight.join(b"a").1);
    }
}
