//! Domain names, maps by longest suffix, and lists of names in files.

mod list;
mod map;
mod name;

pub use list::parse_list;
pub use map::DomainMap;
pub use name::{Name, NameError};
