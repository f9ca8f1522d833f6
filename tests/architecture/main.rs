//! Rules of the code that keep it readable, each held by a test: the layers of ARCHITECTURE.md, no
//! import circle in a room, the length of files and lines, one style of module files, one name for
//! one type. A failure lists the places.

mod imports;
mod sources;

use imports::{Imports, circular};
use sources::{Module, files, modules, text, types};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Folders with Rust of ours.
const FOLDERS: [&str; 7] = ["src", "engine", "tests", "benches", "examples", "fuzz", "lab"];

const LONGEST_FILE: usize = 450;

const LONGEST_LINE: usize = 100;

/// Names that more than one type may have, and why.
const SHARED_NAMES: [(&str, &str); 1] =
    [("Error", "`room::Error` is what goes wrong in that room, as std does it")];

/// What is not so yet, counted for each room. It may only shrink: a number that is too high fails
/// too.
mod known {
    /// Files above [`LONGEST_FILE`](super::LONGEST_FILE).
    pub const LONG_FILES: &[(&str, usize)] = &[];
    /// Lines above [`LONGEST_LINE`](super::LONGEST_LINE).
    pub const LONG_LINES: &[(&str, usize)] = &[("firewall", 32)];
    /// Files beside the folder of their name.
    pub const BESIDE_THEIR_FOLDER: &[(&str, usize)] = &[];
    /// Files that lead back to themselves along their imports.
    pub const CIRCULAR: &[(&str, usize)] = &[];
    /// Definitions of a type whose name another type has.
    pub const NAMESAKES: &[(&str, usize)] = &[];
}

#[test]
fn a_lower_layer_never_imports_a_higher_one() {
    let layers = layers();
    let modules = modules();
    let rooms: BTreeSet<&str> = modules.iter().filter_map(Module::room).collect();
    let named: BTreeSet<&str> = layers.keys().map(String::as_str).collect();
    assert_eq!(named, rooms, "the layers of ARCHITECTURE.md (left) and the folders of src (right)");
    let imports = Imports::of(&modules);
    let arrows = imports.pairs().filter_map(|(from, to)| {
        let (from, to) = (&modules[from], &modules[to]);
        Some((from.room()?, to.room()?, from, to))
    });
    let across: Vec<_> = arrows.filter(|(from, to, ..)| from != to).collect();
    assert!(across.len() > 200, "only {} imports between rooms were found", across.len());
    let up = across.iter().filter(|(from, to, ..)| layers[*from] < layers[*to]);
    let up: Vec<String> = up.map(|(.., from, to)| arrow(from, to)).collect();
    assert!(up.is_empty(), "imports that run up:\n{}", up.join("\n"));
    let between_rooms = across.iter().map(|(from, to, ..)| (*from, *to)).collect();
    let circular = circular(&between_rooms);
    assert!(circular.is_empty(), "rooms that import each other: {circular:?}");
}

/// The table of ARCHITECTURE.md: the number of each room's layer.
fn layers() -> BTreeMap<String, usize> {
    let document = text(Path::new("ARCHITECTURE.md"));
    let (_, section) = document.split_once("\n## Layers\n").expect("a section on layers");
    let table = section.split("```").nth(1).expect("a table in a block of code");
    let mut layers = BTreeMap::new();
    for (layer, line) in table.lines().filter(|line| !line.trim().is_empty()).enumerate() {
        for room in line.split_whitespace().filter(|word| !matches!(*word, "<" | "main")) {
            assert!(layers.insert(room.to_owned(), layer).is_none(), "{room} stands there twice");
        }
    }
    layers
}

#[test]
fn no_files_of_a_room_import_each_other_in_a_circle() {
    let modules = modules();
    let imports = Imports::of(&modules);
    let mut arrows: BTreeMap<&str, BTreeSet<(usize, usize)>> = BTreeMap::new();
    for (from, to) in imports.pairs() {
        if let (Some(room), Some(other)) = (modules[from].room(), modules[to].room())
            && room == other
            && !is_head(&modules[from], &modules[to])
        {
            arrows.entry(room).or_default().insert((from, to));
        }
    }
    assert!(arrows["firewall"].len() > 50 && arrows["dns"].len() > 50, "{arrows:?}");
    let mut found = Found::default();
    for (room, arrows) in &arrows {
        let members = circular(arrows);
        for (from, to) in arrows {
            if members.contains(from) && members.contains(to) {
                found.detail(room, arrow(&modules[*from], &modules[*to]));
            }
        }
        found.count(room, members.len());
    }
    found.held_against(known::CIRCULAR);
}

/// The `mod.rs` of a folder puts its parts together; what it defines is theirs too.
fn is_head(from: &Module, to: &Module) -> bool {
    to.path.len() > from.path.len() && to.path.starts_with(&from.path)
}

fn arrow(from: &Module, to: &Module) -> String {
    format!("{} -> {}", from.file.display(), to.file.display())
}

#[test]
fn no_file_is_too_long() {
    let mut found = Found::default();
    for file in files(&FOLDERS) {
        let lines = text(&file).lines().count();
        if lines > LONGEST_FILE {
            found.at(&file, format!("{}: {lines} lines", file.display()));
        }
    }
    found.held_against(known::LONG_FILES);
}

#[test]
fn no_line_is_too_long() {
    let mut found = Found::default();
    for file in files(&FOLDERS) {
        for (number, line) in (1..).zip(text(&file).lines()) {
            let columns = line.chars().count();
            if columns > LONGEST_LINE {
                found.at(&file, format!("{}:{number}: {columns} columns", file.display()));
            }
        }
    }
    found.held_against(known::LONG_LINES);
}

#[test]
fn a_module_with_children_is_the_mod_rs_of_its_folder() {
    let mut found = Found::default();
    for file in files(&FOLDERS) {
        if sources::root().join(file.with_extension("")).is_dir() {
            found.at(&file, format!("{} stands beside its folder", file.display()));
        }
    }
    found.held_against(known::BESIDE_THEIR_FOLDER);
}

#[test]
fn a_type_has_a_name_of_its_own() {
    let modules = modules();
    let mut definitions: BTreeMap<&str, Vec<&Module>> = BTreeMap::new();
    for module in &modules {
        for name in types(&module.code) {
            definitions.entry(name).or_default().push(module);
        }
    }
    assert!(definitions.len() > 300, "only {} types were found", definitions.len());
    for (name, reason) in SHARED_NAMES {
        let count = definitions.remove(name).map_or(0, |modules| modules.len());
        assert!(count > 1, "{name} is defined {count} times: it need not be listed ({reason})");
    }
    let mut found = Found::default();
    for (name, modules) in definitions.iter().filter(|(_, modules)| modules.len() > 1) {
        for module in modules {
            found.at(&module.file, format!("{name}: {}", module.file.display()));
        }
    }
    found.held_against(known::NAMESAKES);
}

/// What a wall has found, by room: a folder of src, or the top folder elsewhere.
#[derive(Default)]
struct Found {
    counts: BTreeMap<String, usize>,
    details: BTreeMap<String, Vec<String>>,
}

impl Found {
    fn at(&mut self, file: &Path, what: String) {
        let mut parts = file.iter().map(|part| part.to_string_lossy().into_owned());
        let room = match parts.next().as_deref() {
            Some("src") => parts.next().unwrap_or_default().trim_end_matches(".rs").to_owned(),
            other => format!("{}/", other.unwrap_or_default()),
        };
        self.count(&room, 1);
        self.detail(&room, what);
    }

    fn count(&mut self, room: &str, more: usize) {
        *self.counts.entry(room.to_owned()).or_default() += more;
    }

    fn detail(&mut self, room: &str, what: String) {
        self.details.entry(room.to_owned()).or_default().push(what);
    }

    fn held_against(&self, known: &[(&str, usize)]) {
        let known: BTreeMap<&str, usize> = known.iter().copied().collect();
        let rooms: BTreeSet<&str> =
            known.keys().copied().chain(self.counts.keys().map(String::as_str)).collect();
        let mut report = String::new();
        for room in rooms {
            let is = self.counts.get(room).copied().unwrap_or(0);
            let may = known.get(room).copied().unwrap_or(0);
            if is > may {
                let details =
                    self.details.get(room).map(|all| all.join("\n  ")).unwrap_or_default();
                report += &format!("{room}: {is}, and {may} are known:\n  {details}\n");
            } else if is < may {
                report += &format!("{room}: {is}, no longer {may}: write (\"{room}\", {is})\n");
            }
        }
        assert!(report.is_empty(), "\n{report}");
    }
}
