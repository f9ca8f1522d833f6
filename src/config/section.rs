//! The walker: a section of the file, its keys one by one, each with the type that is expected.
//!
//! Whatever is wrong is reported to the [`Source`] and reads as absent, so that one walk finds
//! every problem. Unknown keys are reported as soon as a section is opened.

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

/// A value of the file, and where it stands.
#[derive(Clone)]
pub(super) struct Item<'a> {
    source: &'a Source<'a>,
    key: String,
    at: usize,
    value: &'a DeValue<'a>,
}

impl<'a> Item<'a> {
    /// Reports the value as wrong. Returns `None`, so that it can end an expression.
    pub(super) fn refuse<T>(&self, accepted: impl std::fmt::Display) -> Option<T> {
        self.refuse_as(show(self.value), accepted)
    }

    /// The same with a description of the value: for secrets, and where more is to be said.
    pub(super) fn refuse_as<T>(
        &self,
        found: impl std::fmt::Display,
        accepted: impl std::fmt::Display,
    ) -> Option<T> {
        self.source.problem(self.at, &self.key, found, accepted);
        None
    }

    /// Reports a value that is right, but whose function is still to come.
    pub(super) fn not_yet<T>(&self, accepted: impl std::fmt::Display) -> Option<T> {
        let found = show(self.value);
        let what =
            format!("{}: found {found}, not yet supported; accepted for now: {accepted}", self.key);
        self.source.problem_line(self.at, what);
        None
    }

    /// Warns of the value.
    pub(super) fn warn(&self, what: impl std::fmt::Display) {
        self.source.warn(self.at, &self.key, what);
    }

    /// The line it stands on.
    pub(super) fn line(&self) -> usize {
        self.source.line(self.at)
    }

    /// Byte offset of the key or list element.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The whole key, as messages spell it.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// A string that `read` understands; it returns what is accepted otherwise.
    pub(super) fn parse<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        match self.value {
            DeValue::String(text) => read(text).map_or_else(|accepted| self.refuse(accepted), Some),
            // What the reader says of the unquoted text tells how to write it.
            DeValue::Integer(_) | DeValue::Float(_) => {
                let text = self.value_text();
                match read(&text) {
                    Ok(_) => self.refuse(format!("the same in quotes: \"{text}\"")),
                    Err(accepted) => self.refuse(format!("a string: {accepted}")),
                }
            }
            _ => match read("") {
                Ok(_) => self.refuse("a string"),
                Err(accepted) => self.refuse(format!("a string: {accepted}")),
            },
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        self.parse(|text| {
            if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
                return Ok(*value);
            }
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let list: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            let hint = keys::nearest(text, &words)
                .map(|meant| format!(" (did you mean \"{meant}\"?)"))
                .unwrap_or_default();
            Err(format!("{}{hint}", list.join(", ")))
        })
    }

    /// A whole number from `first` to `last`.
    pub(super) fn integer(&self, first: u16, last: u16) -> Option<u16> {
        let accepted = format!("a whole number from {first} to {last}, without quotes");
        let DeValue::Integer(integer) = self.value else { return self.refuse(accepted) };
        match u16::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if (first..=last).contains(&number) => Some(number),
            _ => self.refuse(accepted),
        }
    }

    /// A string that no message may show.
    pub(super) fn secret(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => self.refuse_as("something that is not in quotes", "a string in quotes"),
        }
    }

    /// The elements of a list, each with its own line.
    pub(super) fn elements(&self) -> Option<Vec<Item<'a>>> {
        let DeValue::Array(array) = self.value else {
            let example = match self.value {
                DeValue::String(_) => format!(", [{}]", show(self.value)),
                _ => String::new(),
            };
            return self.refuse(format!("a list of strings{example}"));
        };
        let element = |value: &'a toml::Spanned<DeValue<'a>>| Item {
            source: self.source,
            key: self.key.clone(),
            at: value.span().start,
            value: value.get_ref(),
        };
        Some(array.iter().map(element).collect())
    }

    /// The elements of a list, or the one string as its only element.
    pub(super) fn one_or_more(&self) -> Option<Vec<Item<'a>>> {
        match self.value {
            DeValue::String(_) => Some(vec![self.clone()]),
            _ => self.elements(),
        }
    }

    /// The elements of a list that `read` understands, the others being reported.
    pub(super) fn list<T>(
        &self,
        mut read: impl FnMut(&str) -> Result<T, String>,
    ) -> Option<Vec<(Item<'a>, T)>> {
        let elements = self.elements()?.into_iter();
        Some(elements.filter_map(|item| item.parse(&mut read).map(|value| (item, value))).collect())
    }

    /// The entries of a table whose keys are the operator's.
    pub(super) fn entries(&self) -> Option<Vec<(&'a str, Item<'a>)>> {
        let DeValue::Table(table) = self.value else { return self.refuse("a table") };
        let entry = |(key, value): (&'a toml::Spanned<_>, &'a toml::Spanned<DeValue<'a>>)| {
            let name: &'a std::borrow::Cow<'a, str> = key.get_ref();
            let item = Item {
                source: self.source,
                key: format!("{}.{name:?}", self.key),
                at: key.span().start,
                value: value.get_ref(),
            };
            (name.as_ref(), item)
        };
        Some(table.iter().map(entry).collect())
    }

    fn value_text(&self) -> String {
        match self.value {
            DeValue::Integer(integer) => integer.to_string(),
            DeValue::Float(float) => float.to_string(),
            _ => String::new(),
        }
    }
}

/// A value as a message shows it: shortened, and never able to garble a terminal.
fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => show_text(text),
        DeValue::Integer(integer) => format!("the number {integer}"),
        DeValue::Float(float) => format!("the number {float}"),
        DeValue::Boolean(boolean) => format!("{boolean}"),
        DeValue::Datetime(_) => "a date or time".into(),
        DeValue::Array(array) if array.is_empty() => "an empty list".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// A text in quotes, shortened.
pub(super) fn show_text(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A key as TOML would have it written.
fn show_key(key: &str) -> String {
    let bare =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare && key.len() <= 60 { key.to_owned() } else { show_text(key) }
}
