//! Domain names and longest-suffix maps.

use std::fmt;
use std::str::FromStr;

/// A domain name in lower-case wire form (RFC 1035, 3.1): length-prefixed labels and the
/// terminal zero byte; at most 255 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The wire form, terminal zero byte included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }
}

/// Why a text is no domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

impl FromStr for Name {
    type Err = NameError;

    fn from_str(_text: &str) -> Result<Self, NameError> {
        Err(NameError("not written yet".into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// From domain suffixes to values; the longest suffix wins.
#[derive(Clone, Debug)]
pub struct DomainMap<T> {
    entries: std::collections::HashMap<Name, T>,
}

impl<T> Default for DomainMap<T> {
    fn default() -> Self {
        DomainMap { entries: Default::default() }
    }
}

impl<T> DomainMap<T> {
    /// Adds a suffix; the last value given for a name counts. Returns the former value.
    pub fn insert(&mut self, name: Name, value: T) -> Option<T> {
        self.entries.insert(name, value)
    }

    /// The value of the longest suffix of `name` (lower-case wire form), if any.
    pub fn lookup(&self, _name: &[u8]) -> Option<&T> {
        None
    }

    /// The number of suffixes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
