//! A list of names, line by line.

use super::report::{ListFormat, ListReport, UnusedReason};
use super::sink::{LineOutcome, NameSink, name};
use super::v2fly::{self, V2flyLine, V2flyPart};
use super::{ListUse, adblock, dnsmasq, hosts, text};
use crate::domain::{Listed, NameListBuilder, Reach};
use std::collections::HashSet;

/// How deep files include one another.
const DEEPEST_INCLUDE: usize = 16;

/// Gives the content of a file in the folder of the list, by its name. `None`: it is not there, or
/// too much has been read.
pub trait Includes {
    /// Called with a name that has no `/` in it.
    fn read(&mut self, name: &str) -> Option<Vec<u8>>;
}

impl<F: FnMut(&str) -> Option<Vec<u8>>> Includes for F {
    fn read(&mut self, name: &str) -> Option<Vec<u8>> {
        self(name)
    }
}

/// Reads a file into the list. Says what came of its lines, and of the files that it includes.
pub fn read_names(
    bytes: &[u8],
    list_use: ListUse,
    includes: &mut dyn Includes,
    list: &mut NameListBuilder,
) -> ListReport {
    let (report, included) = (ListReport::default(), HashSet::new());
    let sink = NameSink { list_use, list };
    let mut reading = NameReading { sink, includes, report, included };
    reading.file(bytes, &V2flyPart::default());
    let mut report = reading.report;
    if report.used.is_empty() {
        report.oddity = text::oddity(bytes);
    }
    report
}

/// A list that is being read.
struct NameReading<'a> {
    sink: NameSink<'a>,
    includes: &'a mut dyn Includes,
    report: ListReport,
    /// What was included: once is enough, and files may include one another in a circle.
    included: HashSet<V2flyPart>,
}

impl NameReading<'_> {
    fn file(&mut self, bytes: &[u8], part: &V2flyPart) {
        for (number, line) in text::lines(&text::decoded(bytes)) {
            match self.line(line, part) {
                None => {}
                Some(Ok(format)) => self.report.note_used(format),
                Some(Err(reason)) => {
                    self.report.note_passed_over(reason, &part.file, number, line);
                }
            }
        }
    }

    /// `None`: it says nothing.
    fn line(&mut self, line: &str, part: &V2flyPart) -> Option<LineOutcome> {
        if text::is_blank(line) {
            return None;
        }
        // Page elements follow the name without a space, comments with one.
        if adblock::is_about_elements(line) {
            return Some(Err(UnusedReason::Element));
        }
        if line.contains(char::REPLACEMENT_CHARACTER) {
            return Some(Err(UnusedReason::NotAscii));
        }
        let line = text::without_comment(line);
        if v2fly::is_line(line) {
            return match v2fly::line(&mut self.sink, line, part)? {
                V2flyLine::Rule(outcome) => Some(outcome),
                V2flyLine::Include(part) => Some(self.include(&part)),
            };
        }
        if adblock::is_line(line) {
            return Some(adblock::line(&mut self.sink, line));
        }
        if let Some(outcome) = self.of_program(line) {
            return outcome;
        }
        self.plain(line, part).transpose()
    }

    /// `None`: it is in neither format.
    fn of_program(&mut self, line: &str) -> Option<Option<LineOutcome>> {
        dnsmasq::line(&mut self.sink, line).or_else(|| hosts::line(&mut self.sink, line))
    }

    /// A name with attributes, which are v2fly's. `None`: they are not wanted here.
    fn plain(&mut self, line: &str, part: &V2flyPart) -> Result<Option<ListFormat>, UnusedReason> {
        let (text, attributes) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        // Older lists have the comment right behind the name.
        let text = text.split('#').next().unwrap_or_default();
        if !v2fly::are_attributes(attributes) {
            return Err(UnusedReason::Unknown);
        }
        let name = name(text)?;
        // A part of an address of adblock; no top-level domain has such a letter (RFC 1123, 2.1).
        if name.labels().last().is_some_and(|label| label.contains(&b'_')) {
            return Err(UnusedReason::Unknown);
        }
        if !part.wants(attributes) {
            return Ok(None);
        }
        self.sink.list.add(&name, Reach::Suffix, Listed::In);
        Ok(Some(if attributes.is_empty() { ListFormat::Names } else { ListFormat::V2fly }))
    }

    /// Reads another file of the folder.
    fn include(&mut self, part: &V2flyPart) -> LineOutcome {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.!+".contains(c);
        let is_file = part.file.chars().all(is_name) && !part.file.starts_with('.');
        if !is_file || part.file.is_empty() || part.depth > DEEPEST_INCLUDE {
            return Err(UnusedReason::Include);
        }
        if !self.included.insert(part.at_any_depth()) {
            return Ok(ListFormat::V2fly);
        }
        let bytes = self.includes.read(&part.file).ok_or(UnusedReason::Include)?;
        self.file(&bytes, part);
        Ok(ListFormat::V2fly)
    }
}
