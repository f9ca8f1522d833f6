//! Domain names, maps by longest suffix, and large lists of names.

mod fingerprints;
#[cfg(any(test, not(feature = "regex")))]
mod lite_search;
mod map;
mod name;
mod name_list;
mod patterns;
#[cfg(feature = "regex")]
mod search;

pub use map::DomainMap;
pub use name::{LONGEST_NAME, Name, NameError};
pub use name_list::{Listed, NameList, NameListBuilder, Reach, Specificity};
pub use patterns::PatternError;
