//! The walker: a section of the file, whose keys are asked for one by one.
//!
//! Whatever is wrong is reported to the [`Source`] and reads as absent, so that one walk finds
//! every problem. Unknown keys are reported as soon as a section is opened.

use super::item::{Item, show, show_text};
use super::keys;
use super::source::Source;
use toml::de::{DeTable, DeValue};

/// A table of the file; also one that is not there, whose keys are all absent.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    /// In [`keys::SECTIONS`].
    name: &'static str,
    /// What stands before a key of this section in messages, with the dot.
    prefix: String,
    table: Option<&'a DeTable<'a>>,
    /// Where a missing key is reported.
    at: usize,
}

impl<'a> Section<'a> {
    /// The file as a whole.
    pub(super) fn top(source: &'a Source<'a>, table: &'a DeTable<'a>) -> Self {
        Section::open(source, "", String::new(), Some(table), source.text().len())
    }

    /// A `[section]` of the file.
    pub(super) fn section(&self, name: &'static str) -> Section<'a> {
        let item = self.item(name);
        let table = item.as_ref().and_then(|item| match item.value {
            DeValue::Table(table) => Some(table),
            _ => item.refuse(format!("a section: [{name}]")),
        });
        let at = item.map_or(self.at, |item| item.at);
        Section::open(self.source, name, format!("{name}."), table, at)
    }

    /// The tables of a `[[section]]`, numbered from 1. `None` if something else stands there.
    pub(super) fn tables(&self, name: &'static str) -> Option<Vec<Section<'a>>> {
        let Some(item) = self.item(name) else { return Some(Vec::new()) };
        let accepted = format!("tables that begin with [[{name}]]");
        let DeValue::Array(array) = item.value else { return item.refuse(accepted) };
        let mut sections = Vec::new();
        for (number, value) in array.iter().enumerate() {
            let prefix = format!("{name}[{}].", number + 1);
            let at = value.span().start;
            let DeValue::Table(table) = value.get_ref() else {
                self.source.problem(at, name, show(value.get_ref()), &accepted);
                continue;
            };
            sections.push(Section::open(self.source, name, prefix, Some(table), at));
        }
        (sections.len() == array.len()).then_some(sections)
    }

    fn open(
        source: &'a Source<'a>,
        name: &'static str,
        prefix: String,
        table: Option<&'a DeTable<'a>>,
        at: usize,
    ) -> Self {
        let known = keys::of(name);
        for key in table.into_iter().flat_map(|table| table.keys()) {
            let text: &str = key.get_ref();
            if !known.contains(&text) {
                let hint = match keys::hint(name, text) {
                    hint if hint.is_empty() => hint,
                    hint => format!(" ({hint})"),
                };
                let path = format!("{prefix}{}", show_key(text));
                let found = format_args!("an unknown key{hint}");
                source.problem(key.span().start, &path, found, known.join(", "));
            }
        }
        Section { source, name, prefix, table, at }
    }

    /// The value of a key, if it is there.
    pub(super) fn item(&self, key: &'static str) -> Option<Item<'a>> {
        debug_assert!(keys::of(self.name).contains(&key), "{key} is not in keys.rs");
        let (name, value) = self.table?.get_key_value(key)?;
        Some(Item {
            source: self.source,
            key: format!("{}{key}", self.prefix),
            at: name.span().start,
            value: value.get_ref(),
        })
    }

    /// The value of a key that has a default; a wrong value is reported and reads as the default.
    pub(super) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Item<'a>) -> Option<T>,
    ) -> T {
        self.item(key).and_then(|item| read(&item)).unwrap_or(default)
    }

    /// Reports that a key ought to be here.
    pub(super) fn missing<T>(&self, key: &str, accepted: &str) -> Option<T> {
        self.source.problem(self.at, &format!("{}{key}", self.prefix), "nothing", accepted);
        None
    }

    /// The whole file.
    pub(super) fn source(&self) -> &'a Source<'a> {
        self.source
    }
}

/// A key as TOML would have it written.
fn show_key(key: &str) -> String {
    let bare =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare && key.len() <= 60 { key.to_owned() } else { show_text(key) }
}
