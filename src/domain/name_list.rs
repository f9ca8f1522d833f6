//! A list of names, made of files: which names are in it.
//!
//! What the formats can say is a flag of a name: that the name itself is in the list, or its
//! subdomains, or both; that it is excepted. Where several apply, adblock's order holds: an
//! important exception, an important rule, an exception, a rule. An exception of dnsmasq
//! (`server=/name/#`) is weaker: of it and the rules the longest name decides.

use super::Name;
use super::fingerprints::{Fingerprints, NameEntry};
use super::patterns::{PatternError, Patterns, PatternsBuilder};
use std::fmt;

/// The names that a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The name and its subdomains.
    Suffix,
    /// The name alone.
    Itself,
    /// Its subdomains alone.
    Subdomains,
}

/// What a line says of these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// They are in the list.
    In,
    /// They are, whatever an exception says.
    Important,
    /// They are not, whatever a rule says that is not important.
    Except,
    /// They are not, whatever any rule says.
    ImportantExcept,
    /// They are not, though a shorter name is.
    Otherwise,
}

/// Flags in pairs: the name itself, its subdomains.
const IN: u16 = 0b11;
const IMPORTANT: u16 = 0b11 << 2;
const EXCEPT: u16 = 0b11 << 4;
const IMPORTANT_EXCEPT: u16 = 0b11 << 6;
/// Without a pair: it holds for both.
const OTHERWISE: u16 = 1 << 8;

const ITSELF: u16 = 0b0101_0101;
const SUBDOMAINS: u16 = 0b1010_1010;

fn flags(reach: Reach, listed: Listed) -> u16 {
    let pair = match listed {
        Listed::In => IN,
        Listed::Important => IMPORTANT,
        Listed::Except => EXCEPT,
        Listed::ImportantExcept => IMPORTANT_EXCEPT,
        Listed::Otherwise => return OTHERWISE,
    };
    match reach {
        Reach::Suffix => pair,
        Reach::Itself => pair & ITSELF,
        Reach::Subdomains => pair & SUBDOMAINS,
    }
}

/// How much of a name a list mentions: bytes of the longest suffix, none for a part of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity(u8);

impl Specificity {
    /// Of a suffix in wire form.
    pub fn of(suffix: &[u8]) -> Self {
        Specificity(u8::try_from(suffix.len()).unwrap_or(u8::MAX))
    }
}

/// The names of a list; immutable. Takes about 12 bytes a name.
#[derive(Clone, Default, PartialEq)]
pub struct NameList {
    names: Fingerprints,
    patterns: Option<Patterns>,
}

impl NameList {
    /// Whether the name is in the list, and how much of it; given in lower-case wire form. A name
    /// that is not may pass for one that is, see [`fingerprints`](super::fingerprints).
    pub fn find(&self, name: &[u8]) -> Option<Specificity> {
        let (mut all, mut longest, mut important) = (0, None, None);
        self.names.each(name, |begin, flags| {
            let applies = flags & (OTHERWISE | if begin == 0 { ITSELF } else { SUBDOMAINS });
            all |= applies;
            let here = Some(Specificity::of(&name[begin..]));
            if applies & IMPORTANT != 0 {
                important = here;
            }
            if applies & OTHERWISE != 0 {
                longest = None;
            } else if applies & (IN | IMPORTANT) != 0 {
                longest = here;
            }
        });
        if all & IMPORTANT_EXCEPT != 0 {
            return None;
        }
        if important.is_some() {
            return important;
        }
        if all & EXCEPT != 0 {
            return None;
        }
        let by_pattern = || self.patterns.as_ref().is_some_and(|patterns| patterns.are_in(name));
        let may_be_by_pattern = longest.is_none() && all & OTHERWISE == 0;
        if may_be_by_pattern && by_pattern() { Some(Specificity(0)) } else { longest }
    }

    /// The number of names and patterns, exceptions among them.
    pub fn len(&self) -> usize {
        self.names.len() + self.patterns.as_ref().map_or(0, Patterns::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A count, not a million numbers.
impl fmt::Debug for NameList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameList({} names)", self.len())
    }
}

/// A list that is still being read.
#[derive(Debug, Default)]
pub struct NameListBuilder {
    entries: Vec<NameEntry>,
    cancelled: Vec<NameEntry>,
    patterns: PatternsBuilder,
}

impl NameListBuilder {
    /// Adds what a line says. The root is never added: a list that holds every name is a slip.
    pub fn add(&mut self, name: &Name, reach: Reach, listed: Listed) {
        if name.as_wire() != [0] {
            self.entries.push(NameEntry::new(name.as_wire(), flags(reach, listed)));
        }
    }

    /// Takes back what another line says, wherever it stands (`$badfilter` of adblock).
    pub fn cancel(&mut self, name: &Name, reach: Reach, listed: Listed) {
        self.cancelled.push(NameEntry::new(name.as_wire(), flags(reach, listed)));
    }

    /// Adds all names with this text in them.
    ///
    /// # Errors
    /// It is not taken.
    pub fn add_keyword(&mut self, text: &str) -> Result<(), PatternError> {
        self.patterns.keyword(text)
    }

    /// Adds all names that a regular expression finds, in the syntax of the crate `regex`, without
    /// Unicode.
    ///
    /// # Errors
    /// It is not taken.
    pub fn add_regexp(&mut self, text: &str) -> Result<(), PatternError> {
        self.patterns.regexp(text)
    }

    /// The list.
    pub fn build(self) -> NameList {
        NameList {
            names: Fingerprints::new(self.entries, &self.cancelled),
            patterns: self.patterns.build(),
        }
    }
}

/// Names with their subdomains.
impl FromIterator<(Name, Listed)> for NameList {
    fn from_iter<I: IntoIterator<Item = (Name, Listed)>>(names: I) -> Self {
        let mut builder = NameListBuilder::default();
        for (name, listed) in names {
            builder.add(&name, Reach::Suffix, listed);
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn list(entries: &[(&str, Reach, Listed)]) -> NameList {
        let mut builder = NameListBuilder::default();
        for (text, reach, listed) in entries {
            builder.add(&name(text), *reach, *listed);
        }
        builder.build()
    }

    fn has(list: &NameList, text: &str) -> bool {
        list.find(name(text).as_wire()).is_some()
    }

    #[test]
    fn reaches() {
        let list = list(&[
            ("a.example", Reach::Suffix, Listed::In),
            ("b.example", Reach::Itself, Listed::In),
            ("c.example", Reach::Subdomains, Listed::In),
        ]);
        for (text, expected) in [
            ("a.example", true),
            ("x.a.example", true),
            ("xa.example", false),
            ("b.example", true),
            ("x.b.example", false),
            ("c.example", false),
            ("y.x.c.example", true),
            ("example", false),
        ] {
            assert_eq!(has(&list, text), expected, "{text}");
        }
        assert_eq!(list.len(), 3);
        assert!(!has(&NameList::default(), "a.example") && NameList::default().is_empty());
    }

    #[test]
    fn an_exception_beats_longer_rules_and_importance_beats_it() {
        let list = list(&[
            ("example", Reach::Suffix, Listed::In),
            ("a.example", Reach::Suffix, Listed::Except),
            ("x.a.example", Reach::Suffix, Listed::In),
            ("y.a.example", Reach::Suffix, Listed::Important),
            ("z.y.a.example", Reach::Suffix, Listed::ImportantExcept),
        ]);
        for (text, expected) in [
            ("b.example", true),
            ("a.example", false),
            ("x.a.example", false),
            ("y.a.example", true),
            ("z.y.a.example", false),
        ] {
            assert_eq!(has(&list, text), expected, "{text}");
        }
    }

    #[test]
    fn without_an_exception_the_longest_name_decides() {
        let list = list(&[
            ("cn", Reach::Suffix, Listed::In),
            ("a.cn", Reach::Suffix, Listed::Otherwise),
            ("b.a.cn", Reach::Suffix, Listed::In),
            ("c.cn", Reach::Suffix, Listed::In),
            ("c.cn", Reach::Suffix, Listed::Otherwise),
        ]);
        for (text, expected) in
            [("x.cn", true), ("x.a.cn", false), ("x.b.a.cn", true), ("c.cn", false)]
        {
            assert_eq!(has(&list, text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_cancelled_is_not_there() {
        let mut builder = NameListBuilder::default();
        builder.cancel(&name("a.example"), Reach::Suffix, Listed::In);
        builder.cancel(&name("c.example"), Reach::Suffix, Listed::In);
        for text in ["a.example", "b.example"] {
            builder.add(&name(text), Reach::Suffix, Listed::In);
        }
        let list = builder.build();
        assert!(!has(&list, "a.example") && has(&list, "b.example"));
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn patterns() {
        let mut builder = NameListBuilder::default();
        builder.add_keyword("Track").unwrap();
        builder.add_regexp(r"^ad\d+\.").unwrap();
        builder.add(&name("good.tracker.example"), Reach::Suffix, Listed::Except);
        let list = builder.build();
        assert!(has(&list, "a.tracker.example") && has(&list, "AD1.example"));
        assert!(!has(&list, "ads.example") && !has(&list, "good.tracker.example"));
        let whole = list.find(name("a.tracker.example").as_wire());
        assert!(whole < Some(Specificity::of(name("a").as_wire())));
    }

    #[test]
    fn patterns_are_bounded() {
        let mut builder = NameListBuilder::default();
        assert_eq!(builder.add_keyword(""), Err(PatternError::Unusable));
        assert_eq!(builder.add_keyword("a b"), Err(PatternError::Unusable));
        assert_eq!(builder.add_regexp("("), Err(PatternError::Unusable));
        assert_eq!(builder.add_regexp("(a{1000}){1000}"), Err(PatternError::Unusable));
        let added = (0..600).filter(|n| builder.add_regexp(&format!("^a{n}[a-z]+$")).is_ok());
        assert_eq!(added.count(), 512);
        let added = (0..11_000).filter(|n| builder.add_keyword(&format!("k{n}")).is_ok());
        assert_eq!(added.count(), 10_000);
        assert_eq!(builder.add_keyword("one-more"), Err(PatternError::TooMany));
        assert!(has(&builder.build(), "a599a.k9999.example"));
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_map(
            names in prop::collection::vec("[ab]{1,3}(\\.[ab]{1,2}){0,3}", 0..300),
            asked in prop::collection::vec("[ab]{1,3}(\\.[ab]{1,2}){0,4}", 0..300),
        ) {
            let model: HashMap<&str, ()> = names.iter().map(|text| (text.as_str(), ())).collect();
            let list: NameList = names.iter().map(|text| (name(text), Listed::In)).collect();
            prop_assert_eq!(list.len(), model.len());
            for text in names.iter().chain(&asked) {
                let mut suffix = Some(text.as_str());
                while let Some(rest) = suffix.filter(|rest| !model.contains_key(rest)) {
                    suffix = rest.split_once('.').map(|(_, rest)| rest);
                }
                let expected = suffix.map(|text| Specificity::of(name(text).as_wire()));
                prop_assert_eq!(list.find(name(text).as_wire()), expected);
            }
        }
    }
}
