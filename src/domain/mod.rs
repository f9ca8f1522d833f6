//! Domain names, maps by longest suffix, and large lists of names.

mod fingerprints;
mod map;
mod name;
mod name_list;
mod patterns;

pub use map::DomainMap;
pub use name::{LONGEST_NAME, Name, NameError};
pub use name_list::{Listed, NameList, NameListBuilder, Reach, Specificity};
pub use patterns::PatternError;
