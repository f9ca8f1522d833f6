//! Files that are refused: every problem, each with its line.

use super::{problems, read};
use crate::config::Purpose;
use crate::config::read::{keys, parse};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;

/// Each case is a file, followed by the lines that have to be said of it. A case without a proxy
/// gets one.
const CASES: &str = include_str!("bad.toml");
const SAID: &str = "# => ";

#[test]
fn what_is_said_of_bad_files() {
    let mut found = 0;
    for case in CASES.split("# ---\n").filter(|case| !case.is_empty()) {
        let (expected, file): (Vec<&str>, Vec<&str>) =
            case.lines().partition(|line| line.starts_with(SAID));
        let expected: Vec<String> =
            expected.iter().map(|line| line.replacen(SAID, "snet.toml:", 1)).collect();
        let file = file.join("\n") + "\n";
        assert_eq!(problems(&file).join("\n"), expected.join("\n"), "\nof the file:\n{file}");
        assert!(!expected.is_empty(), "{file}");
        found += 1;
    }
    assert!(found > 40, "only {found} cases");
}

/// A secret is in no message, whatever is wrong around it.
#[test]
fn no_problem_shows_a_password() {
    for line in [
        "password = hunter2",
        "password = 'hunter2",
        "password = \"hunter2",
        "password: \"hunter2\"",
        "passwort = \"hunter2\"",
        "password = [\"hunter2\"]",
        "password = { hunter2 = 1 }",
        "password = \"hunter2\"\npassword = \"hunter2\"",
        "password = \"hunter2\"\npassword-file = \"x\"",
        "password = \"\\hunter2\"",
        "server = \"ss://bWU6aHVudGVyMg@a.example:1\"\npassword = \"hunter2\"",
        "server = \"http://me:hunter2@a.example:1\"",
    ] {
        let said = problems(&format!("[[proxy]]\ntype = \"http\"\n{line}\n")).join("\n");
        assert!(!said.is_empty(), "{line}");
        assert!(!said.contains("unter2") && !said.contains("aHVudGVy"), "{line}: {said}");
    }
}

/// Lines that make sense alone, so that random files get beyond the TOML parser.
fn any_line() -> impl Strategy<Value = String> {
    let sections: BTreeSet<String> =
        keys().all().map(|(name, _)| format!("[{name}]")).chain(["[[proxy]]".into()]).collect();
    let sections: Vec<String> = sections.into_iter().collect();
    let keys: Vec<&str> = keys().all().map(|(_, key)| key).collect();
    let value = prop_oneof![
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[0-9]{1,3}(\\.[0-9]{1,3}){2,3}(/[0-9]{1,3}|:[0-9]{1,6})?"
            .prop_map(|text| format!("{text:?}")),
        "[a-z0-9:*./@\\[\\]-]{0,12}".prop_map(|text| format!("[{text:?}]")),
        "\\PC{0,90}".prop_map(|text| format!("'{}'", text.replace('\'', ""))),
        "[0-9]{1,22}(ms|s|d|KiB|GiB)".prop_map(|text| format!("{text:?}")),
        "[a-z.*]{0,9}".prop_map(|text| format!("{{ {text:?} = \"192.0.2.1\" }}")),
    ];
    prop_oneof![
        1 => prop::sample::select(sections),
        4 => (prop::sample::select(keys), value)
            .prop_map(|(key, value)| format!("{key} = {value}")),
    ]
}

proptest! {
    #[test]
    fn no_text_is_fatal(text in any::<String>()) {
        let _ = read(&text);
    }

    #[test]
    fn no_file_is_fatal(lines in prop::collection::vec(any_line(), 0..12)) {
        let text = lines.join("\n");
        for purpose in [Purpose::Daemon, Purpose::DnsOnly] {
            if let Err(error) = parse(Path::new("snet.toml"), &text, purpose) {
                prop_assert!(!error.problems.is_empty());
                let has_place = |problem: &String| {
                    problem.starts_with("snet.toml:") || problem.contains("file")
                };
                prop_assert!(error.problems.iter().all(has_place));
            }
        }
    }
}
