//! The source files as the walls see them: text without comments and literals, the module tree
//! without tests, and the types that each file defines.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of these folders, as a path from the repository.
pub fn files(folders: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in folders.iter().map(|folder| root().join(folder)).filter(|it| it.exists()) {
        walk(&folder, &mut files);
    }
    assert!(files.len() > 100, "only {} files were found", files.len());
    files.sort();
    files
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if !path.ends_with("target") {
                walk(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path.strip_prefix(root()).expect("a path in the repository").to_owned());
        }
    }
}

/// The text of a file, given by its path from the repository.
pub fn text(file: &Path) -> String {
    fs::read_to_string(root().join(file)).expect("a file of text")
}

/// A module of the library that is not a test.
#[derive(Debug)]
pub struct Module {
    /// Its path in the crate; the crate's root has none.
    pub path: Vec<String>,
    pub file: PathBuf,
    /// Without comments, literals and tests.
    pub code: String,
    /// Indices of the modules that it declares.
    pub children: Vec<usize>,
}

impl Module {
    /// The top folder that it belongs to; the crate's root has none.
    pub fn room(&self) -> Option<&str> {
        self.path.first().map(String::as_str)
    }

    pub fn name(&self) -> &str {
        self.path.last().map_or("crate", String::as_str)
    }
}

/// Every module that `src/lib.rs` and `src/engine.rs` lead to; the first one is the root of both.
pub fn modules() -> Vec<Module> {
    let file = PathBuf::from("src/lib.rs");
    let code = bare(&text(&file)) + &bare(&text(Path::new("src/engine.rs")));
    let mut modules = vec![Module { path: Vec::new(), file, code, children: Vec::new() }];
    let mut next = 0;
    while next < modules.len() {
        for name in declared(&modules[next].code) {
            let parent = &modules[next];
            let file = child_file(&parent.file, &name);
            let path = [parent.path.as_slice(), &[name]].concat();
            let code = bare(&text(&file));
            modules.push(Module { path, file, code, children: Vec::new() });
            let child = modules.len() - 1;
            modules[next].children.push(child);
        }
        next += 1;
    }
    modules
}

fn child_file(parent: &Path, name: &str) -> PathBuf {
    let folder = match parent.file_name().and_then(|name| name.to_str()) {
        Some("lib.rs" | "mod.rs") => parent.parent().expect("a folder").to_owned(),
        _ => parent.with_extension(""),
    };
    let inside = folder.join(name).join("mod.rs");
    if root().join(&inside).exists() { inside } else { folder.join(format!("{name}.rs")) }
}

/// The names of `mod name;`.
fn declared(code: &str) -> Vec<String> {
    let lines = code.lines().map(str::trim);
    let names = lines.filter_map(|line| {
        let (before, name) = line.split_once("mod ")?;
        let is_declaration =
            before.is_empty() || (before.starts_with("pub") && !before.contains('{'));
        name.strip_suffix(';').filter(|_| is_declaration).map(str::to_owned)
    });
    names.collect()
}

/// The names of the structs, enums, traits and type aliases that are defined here; an associated
/// type is none.
pub fn types(code: &str) -> Vec<&str> {
    let names = code.lines().filter_map(|line| {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '(');
        let mut words = words.filter(|word| !word.is_empty() && !word.starts_with("pub"));
        let mut words = words.by_ref().skip_while(|word| matches!(*word, "in" | "crate" | "super"));
        match words.next()? {
            "struct" | "enum" | "trait" => words.next(),
            "type" if !line.starts_with(' ') => words.next(),
            _ => None,
        }
    });
    names.map(|name| name.split('(').next().unwrap_or(name)).collect()
}

/// Without comments, without what stands in literals, and without `#[cfg(test)]` items.
fn bare(text: &str) -> String {
    without_tests(&without_literals(text))
}

fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        kept.push_str(before);
        let ends = after.find([';', '{']).expect("an item after #[cfg(test)]");
        rest = match after[ends..].starts_with(';') {
            true => &after[ends + 1..],
            false => &after[ends + block(&after[ends..])..],
        };
    }
    kept.push_str(rest);
    kept
}

/// The length of the block in braces that the code begins with.
fn block(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return at + 1;
        }
    }
    panic!("a block without an end: {}", &code[..code.len().min(200)]);
}

/// Comments and the insides of string and character literals become nothing; lines stay.
fn without_literals(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(length) = raw_string(rest).filter(|_| !is_in_word(&kept)) {
            length
        } else if first == '"' {
            string(rest)
        } else if let Some(length) = character(rest) {
            length
        } else {
            kept.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        kept.extend(rest[..length].chars().filter(|c| *c == '\n'));
        rest = &rest[length..];
    }
    kept
}

fn is_in_word(before: &str) -> bool {
    before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let closes = inside.find(&end)?;
    Some(text.len() - inside.len() + closes + end.len())
}

/// A character literal, not a lifetime.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    if first == '\\' {
        return inside[2..].find('\'').map(|at| at + 4);
    }
    let end = first.len_utf8();
    inside[end..].starts_with('\'').then_some(end + 2)
}
