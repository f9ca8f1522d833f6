//! Lists of names and of prefixes.

use snet::domain::{DomainMap, Name, read_list};
use snet::ipset::IpSet;

pub fn run(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut names = DomainMap::default();
    let _ = read_list(text, |name, listed| {
        assert_eq!(Name::from_wire(name.as_wire()).as_ref(), Some(&name));
        names.insert(&name, listed);
        assert_eq!(names.lookup(name.as_wire()), Some(&listed));
    });
    let _ = IpSet::parse_list(text);
}
