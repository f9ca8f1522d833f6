//! Domain names, maps by longest suffix, and lists of names in files.

mod list;
mod map;
mod name;

pub use list::{Listed, read_list};
pub use map::DomainMap;
pub use name::{LONGEST_NAME, Name, NameError};
