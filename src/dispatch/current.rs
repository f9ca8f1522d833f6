//! The dispatcher that new connections take.

use super::Dispatcher;
use crate::sync::{read, write};
use std::fmt;
use std::sync::{Arc, RwLock};

/// The dispatcher of the present moment; `daemon` swaps it on reload.
#[derive(Clone)]
pub struct Current(Arc<RwLock<Arc<Dispatcher>>>);

impl Current {
    /// Starts with this one.
    pub fn new(dispatcher: Dispatcher) -> Self {
        Current(Arc::new(RwLock::new(Arc::new(dispatcher))))
    }

    /// The one to use for a new connection, to its end.
    pub fn load(&self) -> Arc<Dispatcher> {
        Arc::clone(&read(&self.0))
    }

    /// From now on, this one. Returns the former one.
    pub fn swap(&self, dispatcher: Arc<Dispatcher>) -> Arc<Dispatcher> {
        let mut current = write(&self.0);
        std::mem::replace(&mut *current, dispatcher)
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}
