//! The file being read, and everything found wrong with it so far.
//!
//! Problems may be found in any order; they come out in the order of the lines. A report never
//! holds a secret: a value that might be one is described instead.

use super::error::PlacedProblem;
use super::excerpt::{ProblemPlace, excerpt, line_ends};
use super::keys::Keys;
use super::shown::ShownSettings;
use super::{Config, Error, Loaded};
use crate::file_stamp::ListFile;
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Some editors begin a file with it. TOML passes it over.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// A configuration file and the report on it.
pub(super) struct SourceFile<'a> {
    path: &'a Path,
    text: &'a str,
    /// Where the newlines are, since a file may hold many rules and each wants its line.
    line_ends: Vec<usize>,
    problems: RefCell<Vec<(usize, PlacedProblem)>>,
    warnings: RefCell<Vec<(usize, String)>>,
    /// What came of each list in a file.
    lists: RefCell<Vec<(usize, String)>>,
    /// The files of lists, as they were read.
    list_files: RefCell<Vec<ListFile>>,
    /// Keys that differ from their defaults.
    changes: RefCell<Vec<(usize, String)>>,
    /// All keys there are.
    keys: &'a Keys,
    /// Those that this reading asked for.
    asked: RefCell<Keys>,
    holds_password: Cell<bool>,
    /// The files that keys of this one name, and that were read.
    read: RefCell<Vec<(String, PathBuf)>>,
}

impl<'a> SourceFile<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str, keys: &'a Keys) -> Self {
        SourceFile {
            path,
            text,
            line_ends: line_ends(text),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            lists: RefCell::default(),
            list_files: RefCell::default(),
            changes: RefCell::default(),
            keys,
            asked: RefCell::default(),
            holds_password: Cell::default(),
            read: RefCell::default(),
        }
    }

    /// Something is wrong with the key that stands at byte `at`. `meant` is what of the text.
    pub(super) fn problem(
        &self,
        at: usize,
        meant: Range<usize>,
        key: &str,
        found: impl Display,
        accepted: impl Display,
    ) {
        let what = format!("{key}: found {found}; accepted: {accepted}");
        self.told(at, what, &ProblemPlace::OfKey { key, meant });
    }

    /// The same in other words; file and line are put in front.
    pub(super) fn problem_line(&self, at: usize, key: &str, what: impl Display) {
        self.told(at, what, &ProblemPlace::OfKey { key, meant: at..at });
    }

    /// The text is no TOML from here on.
    pub(super) fn syntax_problem(&self, at: usize, what: impl Display) {
        self.told(at, what, &ProblemPlace::Syntax(at));
    }

    fn told(&self, at: usize, what: impl Display, place: &ProblemPlace<'_>) {
        let line = self.line(at);
        let text = format!("{}:{line}: {what}", self.path.display());
        let excerpt = excerpt(self.text, &self.line_ends, self.keys, place);
        self.problems.borrow_mut().push((line, (text, excerpt)));
    }

    /// Something is wrong with another file, which the key at byte `at` names.
    pub(super) fn problem_elsewhere(&self, at: usize, what: String) {
        self.problems.borrow_mut().push((self.line(at), (what, None)));
    }

    /// The key at byte `at` is odd without being wrong.
    pub(super) fn warn(&self, at: usize, key: &str, what: impl Display) {
        let line = self.line(at);
        let text = format!("{}:{line}: {key}: {what}", self.path.display());
        self.warnings.borrow_mut().push((line, text));
    }

    /// What came of a list that the key at byte `at` names.
    pub(super) fn note_list(&self, at: usize, what: String) {
        self.lists.borrow_mut().push((self.line(at), what));
    }

    /// A file of a list has been read, or is not there.
    pub(super) fn note_list_file(&self, file: ListFile) {
        self.list_files.borrow_mut().push(file);
    }

    /// Those that have been read.
    pub(super) fn list_files(&self) -> Vec<ListFile> {
        self.list_files.borrow().clone()
    }

    /// What came of them.
    pub(super) fn lists(&self) -> Vec<String> {
        in_order(self.lists.borrow().clone())
    }

    /// The key at byte `at` has another value than its default.
    pub(super) fn note_change(&self, at: usize, key: &str, value: impl Display) {
        self.changes.borrow_mut().push((self.line(at), format!("{key} = {value}")));
    }

    /// The keys that the file may have.
    pub(super) fn keys(&self) -> &'a Keys {
        self.keys
    }

    /// A key is looked for, whether it is there or not.
    pub(super) fn note_asked(&self, section: &'static str, key: &'static str) {
        self.asked.borrow_mut().add(section, key);
    }

    /// All keys that were looked for.
    pub(super) fn into_asked(self) -> Keys {
        self.asked.into_inner()
    }

    /// The line of a byte, counted from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.line_ends.partition_point(|end| *end < at) + 1
    }

    /// The column of a byte in characters, counted from 1.
    pub(super) fn column(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text).trim_start_matches(BYTE_ORDER_MARK);
        before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1
    }

    /// The whole line of a byte.
    pub(super) fn line_text(&self, at: usize) -> &'a str {
        self.text.lines().nth(self.line(at) - 1).unwrap_or_default()
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// A path as the file means it: relative ones begin where the file lies.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// A file has been read that this key names.
    pub(super) fn note_read(&self, key: &str, path: &Path) {
        self.read.borrow_mut().push((key.to_owned(), path.to_owned()));
    }

    /// What this path is, if it was read: then no file may be made or removed there.
    pub(super) fn role(&self, path: &Path) -> Option<String> {
        if is_same(path, self.path) {
            return Some("the configuration file itself".into());
        }
        let read = self.read.borrow();
        read.iter()
            .find(|(_, other)| is_same(path, other))
            .map(|(key, _)| format!("the file of {key}"))
    }

    /// What lies in this folder, or below it, of that which was read.
    pub(super) fn role_within(&self, folder: &Path) -> Option<String> {
        let folder = folder.canonicalize().ok()?;
        let is_within =
            |path: &Path| path.canonicalize().is_ok_and(|path| path.starts_with(&folder));
        if is_within(self.path) {
            return Some("the configuration file itself".into());
        }
        let read = self.read.borrow();
        read.iter().find(|(_, path)| is_within(path)).map(|(key, _)| format!("the file of {key}"))
    }

    /// From now on the permissions of this file matter.
    pub(super) fn password_seen(&self) {
        self.holds_password.set(true);
    }

    pub(super) fn holds_password(&self) -> bool {
        self.holds_password.get()
    }

    /// The end of reading: the configuration counts only if there was no problem.
    pub(super) fn conclude(self, mut config: Config) -> Result<Loaded, Error> {
        let (warnings, changes) = (in_order(self.warnings.take()), in_order(self.changes.take()));
        config.settings = ShownSettings(changes.clone());
        self.unless_wrong(config).map(|config| Loaded { config, warnings, changes })
    }

    /// The same for a part of it.
    pub(super) fn unless_wrong<T>(self, part: T) -> Result<T, Error> {
        let problems = in_order(self.problems.into_inner());
        if problems.is_empty() { Ok(part) } else { Err(Error::new(problems)) }
    }

    /// The end of reading a file that is no TOML.
    pub(super) fn conclude_broken(self) -> Error {
        Error::new(in_order(self.problems.into_inner()))
    }
}

/// The same name, or two names of one file.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        let found = path.metadata().ok()?;
        Some((found.dev(), found.ino()))
    };
    one == other || identity(one).is_some_and(|one| identity(other) == Some(one))
}

fn in_order<T>(mut list: Vec<(usize, T)>) -> Vec<T> {
    list.sort_by_key(|(line, _)| *line);
    list.into_iter().map(|(_, what)| what).collect()
}
