//! A value of the file: read with the type that is expected, or reported with its line.

use super::keys;
use super::shown::{show, written};
use super::source::SourceFile;
use std::ops::Range;
use toml::de::DeValue;

/// A value of the file, and where it stands.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) source: &'a SourceFile<'a>,
    /// The whole key, as messages spell it.
    pub(super) key: String,
    /// Byte offset of the key or list element.
    pub(super) at: usize,
    /// Where the value stands in the text.
    pub(super) span: Range<usize>,
    pub(super) value: &'a DeValue<'a>,
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
        self.source.problem(self.at, self.span.clone(), &self.key, found, accepted);
        None
    }

    /// Reports a value that is right, but whose function is still to come.
    pub(super) fn not_yet<T>(&self, accepted: impl std::fmt::Display) -> Option<T> {
        let found = show(self.value);
        let what =
            format!("{}: found {found}, not yet supported; accepted for now: {accepted}", self.key);
        self.source.problem_line(self.at, &self.key, what);
        None
    }

    /// Warns of the value.
    pub(super) fn warn(&self, what: impl std::fmt::Display) {
        self.source.warn(self.at, &self.key, what);
    }

    /// Notes that the value is not the default, for the summary, which shows it as it is written.
    /// Never to be called for a secret.
    pub(super) fn note_change(&self) {
        self.source.note_change(self.at, &self.key, written(self.value));
    }

    /// The line it stands on.
    pub(super) fn line(&self) -> usize {
        self.source.line(self.at)
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

    /// Yes or no.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            _ => self.refuse("true or false, without quotes"),
        }
    }

    /// A string that no message may show.
    pub(super) fn secret(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => self.refuse_as("something that is not in quotes", "a string in quotes"),
        }
    }

    /// The string, if it is one.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a string without a character, as a key may be written that says nothing.
    pub(super) fn is_empty_text(&self) -> bool {
        matches!(self.value, DeValue::String(text) if text.is_empty())
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
            span: value.span(),
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
        let mut entries = Vec::new();
        for (key, value) in table {
            let name: &'a str = key.get_ref();
            let item = Item {
                source: self.source,
                key: format!("{}.{name:?}", self.key),
                at: key.span().start,
                span: value.span(),
                value: value.get_ref(),
            };
            if item.value.is_table() {
                item.refuse::<()>("a string or a list; a name with dots stands in quotes");
            } else {
                entries.push((name, item));
            }
        }
        Some(entries)
    }

    fn value_text(&self) -> String {
        match self.value {
            DeValue::Integer(integer) => integer.to_string(),
            DeValue::Float(float) => float.to_string(),
            _ => String::new(),
        }
    }
}
