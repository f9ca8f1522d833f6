//! The text format of v2fly/domain-list-community: `full:`, `domain:`, `keyword:`, `regexp:`,
//! attributes (`@cn`), and `include:` of another file of the folder, whole or by attribute.

use super::report::{ListFormat, UnusedReason};
use super::sink::{LineOutcome, NameSink, name};
use crate::domain::{Listed, PatternError, Reach};

const KINDS: [&str; 6] = ["domain", "full", "keyword", "regexp", "regex", "include"];

/// What a line says.
pub(super) enum V2flyLine {
    /// Something of names, which is in the list by now.
    Rule(LineOutcome),
    /// That another file belongs to this one.
    Include(V2flyPart),
}

/// What is read of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct V2flyPart {
    /// Empty: the list itself.
    pub(super) file: String,
    /// How many files include it.
    pub(super) depth: usize,
    /// Attributes that a rule must have, or must not have, with a `-` in front.
    attributes: Vec<String>,
}

impl V2flyPart {
    /// The same, wherever it is included.
    pub(super) fn at_any_depth(&self) -> V2flyPart {
        V2flyPart { depth: 0, ..self.clone() }
    }

    /// Whether a rule with these attributes belongs to it.
    pub(super) fn wants(&self, attributes: &str) -> bool {
        let has = |wanted: &str| names(attributes).any(|attribute| attribute == wanted);
        self.attributes.iter().all(|wanted| match wanted.strip_prefix('-') {
            Some(unwanted) => !has(unwanted),
            None => has(wanted),
        })
    }
}

/// Whether only attributes stand there, or nothing. An affiliation (`&name`) is none, but stands
/// with them.
pub(super) fn are_attributes(text: &str) -> bool {
    text.split_whitespace().all(|word| word.starts_with(['@', '&']))
}

/// Some lists have a colon before them: `domain:a.example:@cn`.
fn names(attributes: &str) -> impl Iterator<Item = &str> {
    attributes.split([' ', '\t', ',']).filter_map(|word| word.trim().strip_prefix('@'))
}

/// Whether it begins with a kind of rule.
pub(super) fn is_line(line: &str) -> bool {
    line.split_once(':').is_some_and(|(kind, _)| KINDS.contains(&kind))
}

/// `None`: it is about nothing that is wanted here.
pub(super) fn line(sink: &mut NameSink<'_>, line: &str, part: &V2flyPart) -> Option<V2flyLine> {
    let (kind, rest) = line.split_once(':')?;
    let (value, attributes) = match kind {
        // An expression may have spaces in it.
        "regexp" | "regex" => rest.split_once(" @").unwrap_or((rest, "")),
        _ => rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest, "")),
    };
    let value = value.trim();
    if kind == "include" {
        let mut wanted = part.attributes.clone();
        wanted.extend(names(attributes).map(str::to_owned));
        wanted.sort_unstable();
        wanted.dedup();
        let file = value.to_owned();
        let part = V2flyPart { file, depth: part.depth + 1, attributes: wanted };
        return Some(V2flyLine::Include(part));
    }
    let attributes = rest.get(value.len()..).unwrap_or_default();
    if !part.wants(attributes) {
        return None;
    }
    let added = match kind {
        "keyword" => sink.list.add_keyword(value).map_err(reason),
        "regexp" | "regex" => sink.list.add_regexp(value).map_err(reason),
        _ => {
            let value = value.split_once(":@").map_or(value, |(value, _)| value);
            let reach = if kind == "full" { Reach::Itself } else { Reach::Suffix };
            name(value).map(|name| sink.list.add(&name, reach, Listed::In))
        }
    };
    Some(V2flyLine::Rule(added.map(|()| ListFormat::V2fly)))
}

fn reason(error: PatternError) -> UnusedReason {
    match error {
        PatternError::TooMany => UnusedReason::TooMany,
        PatternError::Unusable => UnusedReason::Pattern,
    }
}
