//! Lists of names and of prefixes: any bytes are read, and harm no line beside them.

use snet::domain::{Name, NameListBuilder};
use snet::lists::{ListUse, read_names, read_prefixes};

pub fn run(bytes: &[u8]) {
    let witness: Name = "first.name-of-the-test".parse().expect("a name");
    let between = [b"first.name-of-the-test\n", bytes, b"\n"].concat();
    for list_use in [ListUse::Block, ListUse::Domestic, ListUse::Foreign] {
        let mut list = NameListBuilder::default();
        // The same again: a file may include itself.
        let mut left = 20;
        let mut include = |_: &str| {
            left -= 1;
            (left > 0).then(|| bytes.to_vec())
        };
        let report = read_names(&between, list_use, &mut include, &mut list);
        assert!(!report.used.is_empty());
        assert!(report.passed_over.iter().all(|one| one.first.len() <= 3));
        let is_excepted = bytes.windows(4).any(|part| part == b"name");
        assert!(list.build().find(witness.as_wire()).is_some() || is_excepted);
    }
    let _ = read_prefixes(bytes);
}
