//! What came of a list: how many lines of which format were used, and what was passed over.

use std::fmt;

/// Lines of each reason that are shown.
const SHOWN: usize = 3;

/// Characters of a line that are shown.
const SHOWN_LENGTH: usize = 60;

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// One name a line.
    Names,
    /// hosts(5)
    Hosts,
    /// dnsmasq(8)
    Dnsmasq,
    /// Adblock's, AdGuard's, gfwlist's.
    Adblock,
    /// That of v2fly/domain-list-community.
    V2fly,
    /// One prefix, address or range a line.
    Prefixes,
    /// A registry's delegated file.
    Delegated,
    /// What `ipset save` prints.
    Ipset,
    /// The elements of a set, as `nft list set` prints them.
    Nftables,
}

impl fmt::Display for ListFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListFormat::Names => "plain",
            ListFormat::Hosts => "hosts",
            ListFormat::Dnsmasq => "dnsmasq",
            ListFormat::Adblock => "adblock",
            ListFormat::V2fly => "v2fly",
            ListFormat::Prefixes => "prefixes",
            ListFormat::Delegated => "delegated",
            ListFormat::Ipset => "ipset",
            ListFormat::Nftables => "nftables",
        })
    }
}

/// Why a line is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnusedReason {
    /// Adblock: it is about elements of pages.
    Element,
    /// It is about a part of a site.
    Path,
    /// It has a wildcard, or an expression about more than the name.
    Wildcard,
    /// Adblock: it has an option that a resolver cannot heed.
    Option,
    /// It says which address a name has.
    OtherAddress,
    /// An address where a name belongs.
    Address,
    /// dnsmasq: a directive about something else.
    Directive,
    /// v2fly: a file that cannot be included.
    Include,
    /// A part of a name or a regular expression that cannot be used.
    Pattern,
    /// There are too many of these.
    TooMany,
    /// A name that is not written in ASCII.
    NotAscii,
    /// A delegation to another country, or of something else.
    OtherCountry,
    /// A prefix with host bits.
    HostBits,
    /// Anything else.
    Unknown,
}

impl fmt::Display for UnusedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnusedReason::Element => "about elements of pages",
            UnusedReason::Path => "about a part of a site",
            UnusedReason::Wildcard => "with a wildcard or an expression",
            UnusedReason::Option => "with an option that a resolver cannot heed",
            UnusedReason::OtherAddress => "that give a name an address",
            UnusedReason::Address => "with an address in place of a name",
            UnusedReason::Directive => "with another directive",
            UnusedReason::Include => "with a file that cannot be included",
            UnusedReason::Pattern => "with a keyword or an expression that cannot be used",
            UnusedReason::TooMany => "with more keywords or expressions than are taken",
            UnusedReason::NotAscii => "with a name that is not ASCII (punycode is understood)",
            UnusedReason::OtherCountry => "about another country or no addresses",
            UnusedReason::HostBits => "with a prefix that has host bits",
            UnusedReason::Unknown => "not understood",
        })
    }
}

/// Lines that were passed over for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedLines {
    /// Why.
    pub reason: UnusedReason,
    /// How many.
    pub count: usize,
    /// The first of them: where (a number, and the name of an included file), and what; nothing of
    /// what stands in an included file.
    pub first: Vec<(String, String)>,
}

/// What came of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListReport {
    /// Lines that were used, by format, in the order in which they came.
    pub used: Vec<(ListFormat, usize)>,
    /// The others, in the order in which they came.
    pub passed_over: Vec<UnusedLines>,
    /// What the file is if it is no text that can be read.
    pub oddity: Option<&'static str>,
}

impl ListReport {
    /// Lines that were used.
    pub fn lines_used(&self) -> usize {
        self.used.iter().map(|(_, count)| count).sum()
    }

    /// Lines that were passed over.
    pub fn lines_passed_over(&self) -> usize {
        self.passed_over.iter().map(|one| one.count).sum()
    }

    pub(super) fn note_used(&mut self, format: ListFormat) {
        match self.used.iter_mut().find(|(known, _)| *known == format) {
            Some((_, count)) => *count += 1,
            None => self.used.push((format, 1)),
        }
    }

    /// `file`: the included file it stands in, or nothing.
    pub(super) fn note_passed_over(
        &mut self,
        reason: UnusedReason,
        file: &str,
        line: usize,
        text: &str,
    ) {
        let at = match self.passed_over.iter().position(|one| one.reason == reason) {
            Some(at) => at,
            None => {
                self.passed_over.push(UnusedLines { reason, count: 0, first: Vec::new() });
                self.passed_over.len() - 1
            }
        };
        let one = &mut self.passed_over[at];
        one.count += 1;
        if one.first.len() < SHOWN {
            // Who wrote the list chose the file: it may be one that holds a password.
            one.first.push(match file.is_empty() {
                true => (line.to_string(), text.chars().take(SHOWN_LENGTH).collect()),
                false => (format!("{line} of {file}"), String::new()),
            });
        }
    }
}

/// One line, for the log. What stands in the list is quoted, so that it cannot garble it.
impl fmt::Display for ListReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formats: Vec<String> = match self.used.as_slice() {
            [(format, _)] => vec![format.to_string()],
            several => several.iter().map(|(format, n)| format!("{format} {n}")).collect(),
        };
        let lines = |n: usize| if n == 1 { "1 line".into() } else { format!("{n} lines") };
        write!(f, "{} used", lines(self.lines_used()))?;
        if !formats.is_empty() {
            write!(f, " ({})", formats.join(", "))?;
        }
        write!(f, ", {} passed over", self.lines_passed_over())?;
        for (number, UnusedLines { reason, count, first }) in self.passed_over.iter().enumerate() {
            let shown = first.iter().map(|(place, text)| match text.as_str() {
                "" => format!("line {place}"),
                text => format!("line {place} {text:?}"),
            });
            let shown: Vec<String> = shown.collect();
            let before = if number == 0 { ": " } else { "; " };
            write!(f, "{before}{count} {reason} ({})", shown.join(", "))?;
        }
        match self.oddity {
            Some(oddity) => write!(f, "; it looks like {oddity}"),
            None => Ok(()),
        }
    }
}
