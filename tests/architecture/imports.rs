//! Which module imports which. A path leads to the module that defines what it names: a name that
//! is only passed on (`pub use`) is looked for where it comes from.

use crate::sources::Module;
use std::collections::BTreeSet;

/// From a module to those that it imports, by their indices.
#[derive(Debug)]
pub struct Imports {
    to: Vec<BTreeSet<usize>>,
}

/// One name that a `use` brings into a module.
#[derive(Debug)]
struct Use {
    path: Vec<String>,
    name: String,
    is_public: bool,
}

impl Imports {
    pub fn of(modules: &[Module]) -> Self {
        let parents = parents(modules);
        let uses: Vec<Vec<Use>> = modules.iter().map(|module| uses(&module.code)).collect();
        let tree = Tree { modules, parents, uses };
        let to = (0..modules.len()).map(|module| tree.imports(module)).collect();
        Imports { to }
    }

    /// Every import, as from and to.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        self.to.iter().enumerate().flat_map(|(from, all)| all.iter().map(move |to| (from, *to)))
    }
}

/// The members of circles: those that lead back to themselves along the arrows.
pub fn circular<T: Ord + Copy>(arrows: &BTreeSet<(T, T)>) -> BTreeSet<T> {
    let reaches_itself = |start: T| {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![start];
        while let Some(at) = waiting.pop() {
            for (_, to) in arrows.iter().filter(|(from, _)| *from == at) {
                if seen.insert(*to) {
                    waiting.push(*to);
                }
            }
        }
        seen.contains(&start)
    };
    arrows.iter().map(|(from, _)| *from).filter(|from| reaches_itself(*from)).collect()
}

struct Tree<'a> {
    modules: &'a [Module],
    parents: Vec<usize>,
    uses: Vec<Vec<Use>>,
}

impl Tree<'_> {
    fn imports(&self, module: usize) -> BTreeSet<usize> {
        let inline = paths(&self.modules[module].code);
        let used = self.uses[module].iter().map(|used| used.path.clone());
        let found = used.chain(inline).filter_map(|path| self.resolve(module, &path, 0));
        found.filter(|to| *to != module).collect()
    }

    /// The module that defines what this path names; `None`: it is of another crate.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => 0,
            "self" => from,
            "super" => self.parents[from],
            name => {
                rest = path;
                self.child(from, name)?;
                from
            }
        };
        while let Some((name, after)) = rest.split_first() {
            if name == "super" {
                at = self.parents[at];
            } else if let Some(child) = self.child(at, name) {
                at = child;
            } else {
                let passed_on = |used: &&Use| used.is_public && used.name == *name;
                let passed_on = self.uses[at].iter().find(passed_on).filter(|_| depth < 8);
                let origin = passed_on.and_then(|it| self.resolve(at, &it.path, depth + 1));
                return Some(origin.unwrap_or(at));
            }
            rest = after;
        }
        Some(at)
    }

    fn child(&self, module: usize, name: &str) -> Option<usize> {
        let children = &self.modules[module].children;
        children.iter().copied().find(|child| self.modules[*child].name() == name)
    }
}

fn parents(modules: &[Module]) -> Vec<usize> {
    let mut parents = vec![0; modules.len()];
    for (parent, module) in modules.iter().enumerate() {
        for child in &module.children {
            parents[*child] = parent;
        }
    }
    parents
}

/// Every name that is brought in by `use`.
fn uses(code: &str) -> Vec<Use> {
    let mut all = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let line = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        let is_public = line.starts_with("pub");
        if (line.is_empty() || is_public)
            && let Some((tree, _)) = code[at + 4..].split_once(';')
        {
            expand(&[], tree.trim(), is_public, &mut all);
        }
    }
    all
}

/// `a::{b, c::d as e}` into its paths.
fn expand(before: &[String], tree: &str, is_public: bool, all: &mut Vec<Use>) {
    let (plain, group) = match tree.split_once('{') {
        Some((plain, group)) => (plain, group.trim_end().strip_suffix('}')),
        None => (tree, None),
    };
    let mut path = before.to_vec();
    let (plain, renamed) = match plain.split_once(" as ") {
        Some((plain, name)) => (plain, Some(name.trim().to_owned())),
        None => (plain, None),
    };
    path.extend(plain.split("::").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned));
    if let Some(group) = group {
        for part in parts(group) {
            expand(&path, part, is_public, all);
        }
    } else {
        if path.len() > 1 {
            path.pop_if(|last| last == "self" || last == "*");
        }
        let name = renamed.or_else(|| path.last().cloned()).unwrap_or_default();
        all.push(Use { path, name, is_public });
    }
}

/// What commas separate at the outer level.
fn parts(group: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = group.split(move |c| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Every path with more than one part that stands in the code.
fn paths(code: &str) -> Vec<Vec<String>> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(|c: char| !is_part(c)).filter(|word| word.contains("::"));
    let words = words.filter(|word| !word.starts_with("::"));
    let path = |word: &str| {
        let parts = word.split("::").filter(|part| !part.is_empty());
        parts.map(|part| part.trim_matches(':').to_owned()).collect()
    };
    words.map(path).collect()
}
