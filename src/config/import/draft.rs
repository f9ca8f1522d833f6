//! A file of snet's own in the making: keys and proxies, and what was left out of it.

use crate::config::ProxyConfig;
use crate::config::proxy_text::quoted;
use std::fmt::Write;
use zeroize::Zeroizing;

/// What was understood of another program's file.
pub(super) struct ImportDraft {
    /// What it was, in words that begin a sentence.
    pub(super) origin: String,
    pub(super) proxies: Vec<ProxyConfig>,
    pub(super) keys: Vec<DraftKey>,
    /// What is not taken over, and why; one line each.
    pub(super) left_out: Vec<String>,
}

/// A key of the file.
pub(super) struct DraftKey {
    /// `""` is the top of the file.
    pub(super) section: &'static str,
    /// As it stands in the file.
    pub(super) key: String,
    pub(super) value: DraftValue,
    /// The key of the other program.
    pub(super) from: String,
}

/// A value, as TOML has it.
pub(super) enum DraftValue {
    One(String),
    /// Each on a line of its own, so that one that is refused can be taken out.
    List(Vec<String>),
}

/// What a line of the text belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DraftPart {
    Proxy(usize),
    Key(usize),
    Element(usize, usize),
}

/// Sections, in the order of the file.
const SECTIONS: [&str; 4] = ["listen", "dns", "dns.hosts", "rules"];

impl ImportDraft {
    pub(super) fn new(origin: impl Into<String>) -> Self {
        let (proxies, keys, left_out) = (Vec::new(), Vec::new(), Vec::new());
        ImportDraft { origin: origin.into(), proxies, keys, left_out }
    }

    /// A key with a text.
    pub(super) fn set(&mut self, section: &'static str, key: &str, value: &str, from: &str) {
        let value = quoted(value.as_bytes()).to_string();
        self.put(section, key, DraftValue::One(value), from);
    }

    /// A key with a list of texts.
    pub(super) fn set_list(
        &mut self,
        section: &'static str,
        key: &str,
        values: &[String],
        from: &str,
    ) {
        let mut quoted_values: Vec<String> = Vec::new();
        for value in values {
            let value = quoted(value.as_bytes()).to_string();
            if !quoted_values.contains(&value) {
                quoted_values.push(value);
            }
        }
        if !quoted_values.is_empty() {
            self.put(section, key, DraftValue::List(quoted_values), from);
        }
    }

    /// A key with a value that needs no quotes.
    pub(super) fn put(&mut self, section: &'static str, key: &str, value: DraftValue, from: &str) {
        let (key, from) = (key.to_owned(), from.to_owned());
        self.keys.push(DraftKey { section, key, value, from });
    }

    /// A line of the comment.
    pub(super) fn leave_out(&mut self, what: &str, why: &str) {
        self.left_out.push(format!("{}: {why}", one_line(what)));
    }

    /// Takes out what was refused, with the reason.
    pub(super) fn take_out(&mut self, mut refused: Vec<(DraftPart, String)>) {
        // What goes with its key is not taken out by itself too.
        let keys: Vec<DraftPart> = refused.iter().map(|(part, _)| *part).collect();
        refused.retain(|(part, _)| match part {
            DraftPart::Element(number, _) => !keys.contains(&DraftPart::Key(*number)),
            _ => true,
        });
        // From behind, so that the numbers before stay right.
        refused.sort_by_key(|(part, _)| std::cmp::Reverse(part.place()));
        for (part, why) in refused {
            let what = match part {
                DraftPart::Proxy(number) => format!("proxy {:?}", self.proxies.remove(number).name),
                DraftPart::Element(number, element) => {
                    let key = &mut self.keys[number];
                    let from = key.from.clone();
                    if let DraftValue::List(elements) = &mut key.value {
                        elements.remove(element);
                    }
                    from
                }
                DraftPart::Key(number) => self.keys.remove(number).from,
            };
            self.leave_out(&what, &one_line(&why));
        }
        let is_left = |key: &DraftKey| !matches!(&key.value, DraftValue::List(it) if it.is_empty());
        self.keys.retain(is_left);
    }

    /// The file, and what each of its lines belongs to.
    pub(super) fn text(&self) -> (Zeroizing<String>, Vec<Option<DraftPart>>) {
        let mut text = DraftText::default();
        text.line("# Made by `snet config import`.", None);
        text.line(&format!("# It was {}.", self.origin), None);
        if !self.left_out.is_empty() {
            text.line("#", None);
            text.line("# Not taken over:", None);
            self.left_out.iter().for_each(|line| text.line(&format!("#   {line}"), None));
        }
        text.line("#", None);
        text.line(
            "# Every other key has its default: config.example.toml explains them all.",
            None,
        );
        text.section(self, "");
        for (number, proxy) in self.proxies.iter().enumerate() {
            text.line("", None);
            let table = proxy.table();
            table.lines().for_each(|line| text.line(line, Some(DraftPart::Proxy(number))));
        }
        for section in SECTIONS {
            text.section(self, section);
        }
        (text.text, text.parts)
    }
}

impl DraftPart {
    fn place(self) -> (usize, usize, usize) {
        match self {
            DraftPart::Proxy(number) => (0, number, 0),
            DraftPart::Key(number) => (1, number, usize::MAX),
            DraftPart::Element(number, element) => (1, number, element),
        }
    }
}

#[derive(Default)]
struct DraftText {
    text: Zeroizing<String>,
    parts: Vec<Option<DraftPart>>,
}

impl DraftText {
    fn line(&mut self, line: &str, part: Option<DraftPart>) {
        // A String takes every write.
        let _ = writeln!(self.text, "{line}");
        self.parts.push(part);
    }

    fn section(&mut self, draft: &ImportDraft, name: &str) {
        let keys = draft.keys.iter().enumerate().filter(|(_, key)| key.section == name);
        for (place, (number, DraftKey { key, value, .. })) in keys.enumerate() {
            if place == 0 {
                self.line("", None);
            }
            if place == 0 && !name.is_empty() {
                self.line(&format!("[{name}]"), None);
            }
            match value {
                DraftValue::One(value) => {
                    self.line(&format!("{key} = {value}"), Some(DraftPart::Key(number)));
                }
                DraftValue::List(elements) => {
                    self.line(&format!("{key} = ["), Some(DraftPart::Key(number)));
                    for (place, element) in elements.iter().enumerate() {
                        let part = DraftPart::Element(number, place);
                        self.line(&format!("    {element},"), Some(part));
                    }
                    self.line("]", Some(DraftPart::Key(number)));
                }
            }
        }
    }
}

/// Fit for a comment, which ends with its line, and for a terminal.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}
