//! The walker: a section of the file, whose keys are asked for one by one.
//!
//! A value that is wrong is reported to the [`SourceFile`] and reads as absent, so that one walk
//! finds every problem. Unknown keys are reported as soon as a section is opened.

use super::item::Item;
use super::keys;
use super::shown::{show, show_text};
use super::source::SourceFile;
use crate::file_stamp::ListFile;
use toml::de::{DeTable, DeValue};

/// A table of the file; also one that is not there, whose keys are all absent.
pub(super) struct Section<'a> {
    source: &'a SourceFile<'a>,
    /// As in [`Keys`](super::keys::Keys): empty for the top of the file.
    name: &'static str,
    /// What stands before a key of this section in messages, with the dot.
    prefix: String,
    table: Option<&'a DeTable<'a>>,
    /// Where a missing key is reported.
    at: usize,
}

impl<'a> Section<'a> {
    /// The file as a whole.
    pub(super) fn top(source: &'a SourceFile<'a>, table: &'a DeTable<'a>) -> Self {
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
                self.source.problem(at, value.span(), name, show(value.get_ref()), &accepted);
                continue;
            };
            sections.push(Section::open(self.source, name, prefix, Some(table), at));
        }
        (sections.len() == array.len()).then_some(sections)
    }

    fn open(
        source: &'a SourceFile<'a>,
        name: &'static str,
        prefix: String,
        table: Option<&'a DeTable<'a>>,
        at: usize,
    ) -> Self {
        let keys = source.keys();
        let known = keys.of(name);
        for key in table.into_iter().flat_map(|table| table.keys()) {
            let text: &str = key.get_ref();
            if !known.contains(&text) {
                let hint = match keys.hint(name, text) {
                    hint if hint.is_empty() => hint,
                    hint => format!(" ({hint})"),
                };
                let path = format!("{prefix}{}", show_key(text));
                let found = format_args!("an unknown key{hint}");
                let (at, meant) = (key.span().start, key.span());
                source.problem(at, meant, &path, found, known.join(", "));
            }
        }
        Section { source, name, prefix, table, at }
    }

    /// The value of a key, if it is there. Unless [`Section::key`] reads it, the summary has to say
    /// by itself what it means, or [`Item::note_change`] is called.
    pub(super) fn item(&self, key: &'static str) -> Option<Item<'a>> {
        let keys = self.source.keys();
        debug_assert!(
            keys.is_empty() || keys.of(self.name).contains(&key),
            "{key} is not asked for in every file: where it is, it counts as unknown"
        );
        self.source.note_asked(self.name, key);
        let (name, value) = self.table?.get_key_value(key)?;
        Some(Item {
            source: self.source,
            key: format!("{}{key}", self.prefix),
            at: name.span().start,
            span: value.span(),
            value: value.get_ref(),
        })
    }

    /// Reads a key into `field`, which holds the default. A value that is no default is noted for
    /// the summary; one that `read` refuses leaves the default there, and the answer is `false`.
    pub(super) fn key<T: PartialEq>(
        &self,
        key: &'static str,
        field: &mut T,
        read: impl FnOnce(&Item<'a>) -> Option<T>,
    ) -> bool {
        let Some(item) = self.item(key) else { return true };
        let Some(value) = read(&item) else { return false };
        if value != *field {
            item.note_change();
            *field = value;
        }
        true
    }

    /// The files of lists that were read so far, and those that are not there.
    pub(super) fn list_files(&self) -> Vec<ListFile> {
        self.source.list_files()
    }

    /// What came of them, one line each.
    pub(super) fn lists(&self) -> Vec<String> {
        self.source.lists()
    }

    /// Reports that a key ought to be here.
    pub(super) fn missing<T>(&self, key: &str, accepted: &str) -> Option<T> {
        if self.has_misspelled(key) {
            return None;
        }
        let key = format!("{}{key}", self.prefix);
        self.source.problem(self.at, self.at..self.at, &key, "nothing", accepted);
        None
    }

    /// Whether an unknown key stands here that was said to mean this one: it is there, then.
    fn has_misspelled(&self, key: &str) -> bool {
        let known = self.source.keys().of(self.name);
        let mut unknown = self.table.into_iter().flat_map(|table| table.keys());
        unknown.any(|it| {
            let text: &str = it.get_ref();
            !known.contains(&text) && keys::nearest(text, known) == Some(key)
        })
    }
}

/// A key as TOML would have it written.
fn show_key(key: &str) -> String {
    let bare =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare && key.len() <= 60 { key.to_owned() } else { show_text(key) }
}
