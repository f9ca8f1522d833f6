//! The part of the adblock syntax that is about names, as a resolver reads it: AdGuard Home and
//! Pi-hole do the same. gfwlist is written in it too.
//!
//! `||name^` is the name with its subdomains, `||*.name^` its subdomains alone, `|name^` the name
//! alone, `@@` in front makes an exception.

use super::ListUse;
use super::report::{ListFormat, UnusedReason};
use super::sink::{LineOutcome, NameSink, name};
use crate::domain::{Listed, Reach};

const ELEMENT_MARKS: [&str; 8] = ["##", "#@#", "#?#", "#$#", "#%#", "#@?#", "#@$#", "$$"];

/// A rule about elements of pages. They follow the name without a space, comments with one.
pub(super) fn is_about_elements(line: &str) -> bool {
    // Most lines of most lists have neither, and eight searches take longer than the rest.
    let may_have_mark = line.bytes().any(|byte| matches!(byte, b'#' | b'$'));
    may_have_mark
        && ELEMENT_MARKS.iter().any(|mark| {
            line.split_once(mark).is_some_and(|(names, rest)| {
                !names.is_empty() && !names.contains(char::is_whitespace) && !rest.is_empty()
            })
        })
}

/// Whether it is written in this syntax, whatever it says.
pub(super) fn is_line(line: &str) -> bool {
    let is_expression = line.starts_with('/');
    let is_hosts_or_directive = line.contains(char::is_whitespace) || line.contains("=/");
    line.starts_with("@@")
        || line.starts_with('|')
        || is_expression
        || !is_hosts_or_directive && (line.contains('^') || line.contains('/'))
}

pub(super) fn line(sink: &mut NameSink<'_>, line: &str) -> LineOutcome {
    let (rule, is_exception) = match line.strip_prefix("@@") {
        Some(rule) => (rule, true),
        None => (line, false),
    };
    if rule.starts_with('/') {
        return Err(UnusedReason::Wildcard);
    }
    let (pattern, options) = rule.rsplit_once('$').unwrap_or((rule, ""));
    let options = RuleOptions::read(options)?;
    // What is said of a part of a site holds for the site, where that does no harm.
    let takes_site = sink.list_use == ListUse::Foreign && !is_exception;
    let (text, reach) = names_of(pattern, takes_site)?;
    let listed = match (is_exception, options.is_important) {
        (false, false) => Listed::In,
        (false, true) => Listed::Important,
        (true, false) => Listed::Except,
        (true, true) => Listed::ImportantExcept,
    };
    let name = name(text)?;
    if options.is_cancelled {
        sink.list.cancel(&name, reach, listed);
    } else {
        sink.list.add(&name, reach, listed);
    }
    Ok(ListFormat::Adblock)
}

/// The name of a pattern, and which names it means.
fn names_of(pattern: &str, takes_site: bool) -> Result<(&str, Reach), UnusedReason> {
    let (anchored, reach) = if let Some(rest) = pattern.strip_prefix("||") {
        match rest.strip_prefix("*.") {
            Some(rest) => (rest, Reach::Subdomains),
            None => (rest, Reach::Suffix),
        }
    } else if let Some(rest) = pattern.strip_prefix('|') {
        (rest, Reach::Itself)
    } else {
        (pattern, Reach::Suffix)
    };
    // What follows the scheme is the name alone, with any path.
    let url = ["https://", "http://", "://"].iter().find_map(|it| anchored.strip_prefix(it));
    let (rest, reach) = match url {
        None => (anchored, reach),
        Some(rest) => match rest.strip_prefix("*.") {
            None => (rest, Reach::Suffix),
            Some(rest) => (rest, Reach::Subdomains),
        },
    };
    let end = rest.find(['/', '^', ':', '|']).unwrap_or(rest.len());
    let (text, tail) = rest.split_at(end);
    if text.contains('*') {
        return Err(UnusedReason::Wildcard);
    }
    let is_whole = url.is_none() && matches!(tail, "" | "^" | "^|" | "|");
    // Without an anchor a pattern may begin inside a label.
    let is_part = text.starts_with('-') || !text.contains('.') && !pattern.starts_with('|');
    match (is_whole, is_part) {
        (_, true) => Err(UnusedReason::Wildcard),
        (true, false) => Ok((text, reach)),
        (false, false) if takes_site && reach == Reach::Subdomains => Ok((text, reach)),
        (false, false) if takes_site => Ok((text, Reach::Suffix)),
        (false, false) => Err(UnusedReason::Path),
    }
}

/// Those that a resolver can heed.
struct RuleOptions {
    is_important: bool,
    /// `$badfilter`: the same rule without it does not count.
    is_cancelled: bool,
}

impl RuleOptions {
    fn read(text: &str) -> Result<Self, UnusedReason> {
        let mut options = RuleOptions { is_important: false, is_cancelled: false };
        for option in text.split(',').map(str::trim) {
            match option {
                "important" => options.is_important = true,
                "badfilter" => options.is_cancelled = true,
                "" | "all" => {}
                _ => return Err(UnusedReason::Option),
            }
        }
        Ok(options)
    }
}
