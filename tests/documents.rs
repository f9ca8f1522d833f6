//! The documents name files of the project, tests and each other: what they name exists. A failure
//! lists the places.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a path in a document may begin, beside the root of the project.
const ROOMS: [&str; 4] = ["src", "src/firewall", "tests/lab", "src/dns"];

/// Ends of names that are files of this project when they stand in backticks.
const KINDS: [&str; 3] = [".rs", ".sh", ".md"];

#[test]
fn every_path_in_backticks_exists() {
    let mut found = 0;
    let mut missing = BTreeSet::new();
    for document in documents() {
        for (line, word) in backticks(&text(&document)) {
            if !is_path(word) {
                continue;
            }
            found += 1;
            if !exists(word) {
                missing.insert(format!("{}:{line}: {word}", document.display()));
            }
        }
    }
    assert!(found > 60, "only {found} paths were found");
    assert!(missing.is_empty(), "\n{}", lines(missing));
}

#[test]
fn every_link_leads_somewhere() {
    let mut found = 0;
    let mut missing = BTreeSet::new();
    for document in documents() {
        for (line, link) in links(&text(&document)) {
            if link.contains("://") {
                continue;
            }
            found += 1;
            let folder = document.parent().unwrap_or(Path::new(""));
            if !root().join(folder).join(&link).exists() {
                missing.insert(format!("{}:{line}: {link}", document.display()));
            }
        }
    }
    assert!(found > 30, "only {found} links were found");
    assert!(missing.is_empty(), "\n{}", lines(missing));
}

/// The table of what flows when says which tests prove it.
#[test]
fn every_proof_is_a_test() {
    let document = text(Path::new("ARCHITECTURE.md"));
    let (_, section) = document.split_once("\n## What flows when\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("a section behind it");
    let mut found = 0;
    let mut missing = BTreeSet::new();
    for row in section.lines().filter(|line| line.starts_with('|')) {
        let proofs = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        for (_, proof) in backticks(proofs) {
            found += 1;
            let (file, test) = proof.split_once("::").unwrap_or((proof, ""));
            let file = file.trim_end_matches(".rs");
            let paths = [format!("tests/lab/{file}.rs"), format!("src/{file}.rs")];
            let proves = |path: &String| {
                fs::read_to_string(root().join(path)).is_ok_and(|code| code.contains(test))
            };
            if !paths.iter().any(proves) {
                missing.insert(proof.to_owned());
            }
        }
    }
    assert!(found > 10, "only {found} proofs were found");
    assert!(missing.is_empty(), "\n{}", lines(missing));
}

#[test]
fn the_readme_is_short() {
    let lines = text(Path::new("README.md")).lines().count();
    assert!(lines <= 150, "README.md has {lines} lines: move what is special to docs/");
}

/// A panel over a metric that snet does not have stays empty for ever.
#[test]
fn the_dashboard_of_grafana_asks_for_metrics_that_are_there() {
    let dashboard = text(Path::new("docs/grafana.json"));
    let metrics = text(Path::new("src/web/metrics.rs"));
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for line in dashboard.lines().filter(|line| line.trim_start().starts_with("\"expr\"")) {
        let words = line.split(|c| !is_word(c)).filter(|word| word.starts_with("snet_"));
        found.extend(words);
    }
    assert!(found.len() > 10, "{found:?}");
    let is_there =
        |name: &str| metrics.contains(&format!("\"{}\"", name.trim_end_matches("_total")));
    let missing: Vec<_> = found.into_iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Who changes one of them changes the other: they have the same parts, the same blocks of
/// commands, and name the same files, commands and keys.
#[test]
fn the_chinese_readme_keeps_step() {
    let [english, chinese] = ["README.md", "README.zh-CN.md"].map(|it| text(Path::new(it)));
    let parts = |text: &str| -> Vec<usize> {
        let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
        headings.map(|(_, line)| line.chars().take_while(|c| *c == '#').count()).collect()
    };
    assert!(parts(&english).len() > 5);
    assert_eq!(parts(&english), parts(&chinese), "the headings");
    let code = |text: &str| -> Vec<String> {
        let prose: BTreeSet<usize> = prose(text).map(|(number, _)| number).collect();
        let lines = (1..).zip(text.lines());
        lines.filter(|(number, _)| !prose.contains(number)).map(|(_, it)| it.to_owned()).collect()
    };
    assert!(code(&english).len() > 20);
    assert_eq!(code(&english), code(&chinese), "the blocks of code");
    let words = |text: &str| -> BTreeSet<String> {
        backticks(text).map(|(_, word)| word.to_owned()).collect()
    };
    assert!(words(&english).len() > 30);
    assert_eq!(words(&english), words(&chinese), "what stands in backticks");
    let linked = |text: &str| -> BTreeSet<String> {
        links(text).into_iter().map(|(_, link)| link).filter(|it| !it.contains("README.")).collect()
    };
    assert_eq!(linked(&english), linked(&chinese), "the links");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(document: &Path) -> String {
    fs::read_to_string(root().join(document)).expect("a document that can be read")
}

/// Relative to the root of the project.
fn documents() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        ["README.md", "README.zh-CN.md", "ARCHITECTURE.md", "scripts/openwrt/README.md"]
            .map(PathBuf::from)
            .into();
    let docs = fs::read_dir(root().join("docs")).expect("the folder of the documents");
    let names = docs.flatten().map(|entry| Path::new("docs").join(entry.file_name()));
    all.extend(names.filter(|path| path.extension().is_some_and(|kind| kind == "md")));
    assert!(all.len() > 5, "{all:?}");
    all.sort();
    all
}

/// What stands in backticks, outside of blocks of code, and its line.
fn backticks(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(number, line)| {
        line.split('`').skip(1).step_by(2).map(move |word| (number, word))
    })
}

fn links(text: &str) -> Vec<(usize, String)> {
    prose(text)
        .flat_map(|(number, line)| {
            line.split("](").skip(1).filter_map(move |rest| {
                let (link, _) = rest.split_once(')')?;
                let (file, _) = link.split_once('#').unwrap_or((link, ""));
                Some((number, file.to_owned())).filter(|(_, file)| !file.is_empty())
            })
        })
        .collect()
}

/// The lines outside of blocks of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            return false;
        }
        !in_code
    })
}

/// A path of this project: a folder, a file of a known kind, or a file in one of its folders.
fn is_path(word: &str) -> bool {
    const FOLDERS: [&str; 3] = ["src/", "tests/", "scripts/"];
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c));
    let word = word.trim_start_matches("./");
    is_plain
        && !word.starts_with('/')
        && (word.ends_with('/')
            || KINDS.iter().any(|kind| word.ends_with(kind))
            || FOLDERS.iter().any(|folder| word.starts_with(folder)))
}

fn exists(word: &str) -> bool {
    let word = word.trim_start_matches("./");
    root().join(word).exists() || ROOMS.iter().any(|room| root().join(room).join(word).exists())
}

fn lines(all: BTreeSet<String>) -> String {
    all.into_iter().collect::<Vec<_>>().join("\n")
}
