//! How a value of the file is shown, in messages and in the summary: shortened, and never able to
//! garble a terminal.

use std::fmt;
use toml::de::DeValue;

/// So many elements of a list are in the summary.
const MOST_SHOWN: usize = 8;

/// A value as a message shows it.
pub(super) fn show(value: &DeValue<'_>) -> String {
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

/// A value as the file could have it, shortened: texts and lists may be of any length.
pub(super) fn written(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Array(array) => {
            let elements = array.iter().map(|element| written(element.get_ref()));
            let text = shortened(elements.collect());
            format!("[{text}]")
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| {
                format!("{} = {}", show_text(key.get_ref()), written(value.get_ref()))
            });
            let text = shortened(entries.collect());
            format!("{{ {text} }}")
        }
        DeValue::Integer(integer) => integer.to_string(),
        value => show(value),
    }
}

/// The first few of many, and how many more there are.
fn shortened(mut elements: Vec<String>) -> String {
    let more = elements.len().saturating_sub(MOST_SHOWN);
    elements.truncate(MOST_SHOWN);
    if more > 0 {
        elements.push(format!("and {more} more"));
    }
    elements.join(", ")
}

/// A text in quotes, shortened.
pub(super) fn show_text(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The keys that differ from their defaults, as `key = value`, in the order of the file. Never a
/// secret.
#[derive(Clone, Default)]
pub(super) struct ShownSettings(pub(super) Vec<String>);

impl fmt::Debug for ShownSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShownSettings({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(show_text("\u{1b}[31m"), "\"\\u{1b}[31m\"");
        assert_eq!(show_text(&"é".repeat(60)), format!("\"{}\"", "é".repeat(60)));
        assert_eq!(show_text(&"é".repeat(61)), format!("\"{}\"...", "é".repeat(60)));
    }
}
