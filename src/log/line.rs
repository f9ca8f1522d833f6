//! A line of the log before it has a form: for a terminal and a file ([`super::text`]), for the
//! journal ([`super::journal`]), and for those who follow it ([`super::follow`]).

use super::level::LogLevel;
use std::fmt;
use std::time::SystemTime;
use tracing::Event;
use tracing::field::{Field, Visit};

/// What is longer is cut, with a word about it: the queue is bounded, and so is a datagram to the
/// journal.
const LONGEST: usize = 32 << 10;

/// One line, or several of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was logged.
    pub at: SystemTime,
    /// How grave it is.
    pub level: LogLevel,
    /// The words.
    pub message: String,
    /// What they are about.
    pub fields: Vec<LogField>,
}

/// `name=value`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogField {
    /// The same name for the same thing, wherever it is logged.
    pub name: &'static str,
    /// Without quotes.
    pub value: String,
    /// Whether it is quoted in text.
    is_text: bool,
}

impl LogLine {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut line = LogLine {
            at: SystemTime::now(),
            level: LogLevel::of(event.metadata().level()),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        line
    }

    /// So much of a bounded memory it takes.
    pub(super) fn weight(&self) -> usize {
        let fields = self.fields.iter().map(|field| size_of::<LogField>() + field.value.len());
        size_of::<LogLine>() + self.message.len() + fields.sum::<usize>()
    }

    fn add(&mut self, field: &Field, value: String, is_text: bool) {
        let value = cut(value);
        match field.name() {
            "message" => self.message = value,
            name => self.fields.push(LogField { name, value, is_text }),
        }
    }
}

/// The words and the fields, without level and time. What is no letter is shown as what it is, so
/// that no line begins inside another one and none speaks to the terminal; but for the line feeds
/// of a message.
impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_plain(&self.message, f, |c| matches!(c, '\n' | '\t'))?;
        for (place, field) in self.fields.iter().enumerate() {
            if place > 0 || !self.message.is_empty() {
                f.write_str(" ")?;
            }
            write!(f, "{field}")?;
        }
        Ok(())
    }
}

impl fmt::Display for LogField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name)?;
        match self.is_text {
            true => write!(f, "{:?}", self.value),
            false => write_plain(&self.value, f, |_| false),
        }
    }
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned(), true);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"), false);
    }
}

fn write_plain(text: &str, f: &mut fmt::Formatter<'_>, may: impl Fn(char) -> bool) -> fmt::Result {
    if !text.chars().any(char::is_control) {
        return f.write_str(text);
    }
    for c in text.chars() {
        match c.is_control() && !may(c) {
            true => write!(f, "{}", c.escape_default())?,
            false => write!(f, "{c}")?,
        }
    }
    Ok(())
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let mut end = LONGEST;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let more = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("... ({more} more bytes)"));
    }
    text
}

#[cfg(test)]
impl LogLine {
    /// A line of these words and fields.
    pub(super) fn sample(message: &str, fields: &[(&'static str, &str)]) -> Self {
        let field = |(name, value): &(&'static str, &str)| LogField {
            name,
            value: (*value).to_owned(),
            is_text: true,
        };
        LogLine {
            at: SystemTime::UNIX_EPOCH,
            level: LogLevel::Info,
            message: message.to_owned(),
            fields: fields.iter().map(field).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_begins_a_line_or_speaks_to_a_terminal() {
        let mut line = LogLine::sample("two\nlines\x1b[2J", &[("name", "a\nb \"c\"")]);
        line.fields.push(LogField { name: "cause", value: "d\ne\x07".into(), is_text: false });
        assert_eq!(
            line.to_string(),
            "two\nlines\\u{1b}[2J name=\"a\\nb \\\"c\\\"\" cause=d\\ne\\u{7}"
        );
        assert_eq!(LogLine::sample("", &[("name", "a")]).to_string(), "name=\"a\"");
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let long = "é".repeat(LONGEST);
        let cut = cut(long);
        assert!(cut.ends_with(&format!("é... ({LONGEST} more bytes)")), "{}", &cut[LONGEST..]);
        assert!(cut.len() < LONGEST + 40);
    }
}
