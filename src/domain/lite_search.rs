//! In the place of [`search`](super::search) where a build has to be small: a tenth of the code,
//! and slower. How much slower was not measured.

use regex_lite::{Regex, RegexBuilder};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

#[cfg(not(feature = "regex"))]
pub(super) use {LiteKeywords as Keywords, LiteRegexps as Regexps};

/// Every part of a name that is as long as a keyword is looked up.
#[derive(Clone)]
pub(super) struct LiteKeywords(Arc<HashSet<Box<[u8]>>>, BTreeSet<usize>);

impl LiteKeywords {
    /// Of words, none of which is empty.
    pub(super) fn new(texts: &[String]) -> Option<Self> {
        let all = texts.iter().map(|text| text.as_bytes().into()).collect();
        Some(LiteKeywords(Arc::new(all), texts.iter().map(String::len).collect()))
    }

    /// Whether one of them is in the name, given as it is written, in lower case.
    pub(super) fn are_in(&self, name: &[u8]) -> bool {
        let LiteKeywords(all, lengths) = self;
        lengths.iter().any(|length| name.windows(*length).any(|part| all.contains(part)))
    }
}

/// All of them in one, as alternatives, which one pass over a name follows together; or each by
/// itself, where together they are none: two may give their parts the same name, and a comment
/// would go on to the end.
#[derive(Clone)]
pub(super) struct LiteRegexps(Arc<[Regex]>);

impl LiteRegexps {
    /// Whether such an expression can be one of them, which may take so many bytes.
    pub(super) fn is_one(text: &str, bytes: usize) -> bool {
        compiled(text, bytes).is_some()
    }

    /// `None`: one of them cannot be, or together they take more bytes.
    pub(super) fn new(texts: &[String], bytes: usize) -> Option<Self> {
        let all: Vec<_> = texts.iter().map(|text| format!("(?:{text})")).collect();
        let all = match all.is_empty() {
            true => Some(Vec::new()),
            false => compiled(&all.join("|"), bytes).map(|all| vec![all]),
        };
        let each = || texts.iter().map(|text| compiled(text, bytes)).collect();
        Some(LiteRegexps(all.or_else(each)?.into()))
    }

    /// Whether one of them is in the name, given as it is written, in lower case. One that is no
    /// text has none.
    pub(super) fn are_in(&self, name: &[u8]) -> bool {
        str::from_utf8(name).is_ok_and(|name| self.0.iter().any(|one| one.is_match(name)))
    }
}

fn compiled(text: &str, limit: usize) -> Option<Regex> {
    RegexBuilder::new(text).case_insensitive(true).size_limit(limit).build().ok()
}

#[cfg(test)]
#[cfg(feature = "regex")]
mod tests {
    use super::super::search::{Keywords, Regexps};
    use super::{LiteKeywords, LiteRegexps};
    use proptest::prelude::*;

    const BYTES: usize = 1 << 16;

    /// Of lists that people use: every form of expression that is in them.
    const EXPRESSIONS: [&str; 8] = [
        r"^ad\d+\.",
        r"(^|\.)cdn[0-9a-f]{2,4}\.example$",
        r".+\.track(er|ing)?\.",
        r"^[a-z0-9-]+\.(co|com)\.[a-z]{2}$",
        r"^WWW(?-i:\.)",
        r"\bstat\w*\b",
        "^$",
        r"\.中国$",
    ];

    const NAMES: [&str; 12] = [
        "ad1.example",
        "ads.example",
        "a.cdnff.example",
        "cdn12345.example",
        "x.tracker.example",
        "track.example",
        "shop-1.com.cn",
        "shop.com.museum",
        "www.example",
        "my-stats.example",
        "",
        "xn--fiqs8s",
    ];

    #[test]
    fn both_find_the_same() {
        for text in EXPRESSIONS {
            let texts = [text.to_owned()];
            let both =
                Regexps::new(&texts, BYTES).zip(LiteRegexps::new(&texts, BYTES)).expect(text);
            for name in NAMES {
                let found = (both.0.are_in(name.as_bytes()), both.1.are_in(name.as_bytes()));
                assert_eq!(found.0, found.1, "{text} in {name}");
            }
        }
        let all = EXPRESSIONS.map(str::to_owned);
        let both = Regexps::new(&all, BYTES).zip(LiteRegexps::new(&all, BYTES)).expect("all");
        let found = |name: &&str| both.1.are_in(name.as_bytes());
        assert_eq!(NAMES.iter().filter(|name| found(name)).count(), 7);
        assert!(NAMES.iter().all(|name| both.0.are_in(name.as_bytes()) == found(name)));
    }

    proptest! {
        #[test]
        fn keywords(words in prop::collection::vec("[ab.]{1,4}", 0..6), name in "[abc.]{0,12}") {
            let both = Keywords::new(&words).zip(LiteKeywords::new(&words)).expect("words");
            let is_in = words.iter().any(|word| name.contains(word.as_str()));
            let name = name.as_bytes();
            prop_assert_eq!((both.0.are_in(name), both.1.are_in(name)), (is_in, is_in));
        }
    }

    #[test]
    fn both_refuse_the_same() {
        for text in ["(", "(a{1000}){1000}", r"\pL", "a)|(b"] {
            assert!(!LiteRegexps::is_one(text, BYTES), "{text}");
            assert!(!Regexps::is_one(text, BYTES), "{text}");
        }
        assert!(LiteRegexps::is_one("^a512[a-z]+$", BYTES));
    }

    #[test]
    fn what_cannot_be_alternatives_is_looked_for_one_by_one() {
        let nested = format!("{}x{}", "(".repeat(50), ")".repeat(50));
        for texts in [["(?P<n>ab)", "(?P<n>cd)"], ["(?x)ab#", "cd"], [&nested, "cd"]] {
            let texts = texts.map(str::to_owned);
            assert!(texts.iter().all(|text| LiteRegexps::is_one(text, BYTES)), "{texts:?}");
            let both = Regexps::new(&texts, BYTES).zip(LiteRegexps::new(&texts, BYTES));
            let both = both.expect("both");
            for name in ["ab.example", "cd.example", "xx", "none"] {
                let found = (both.0.are_in(name.as_bytes()), both.1.are_in(name.as_bytes()));
                assert_eq!(found.0, found.1, "{texts:?} in {name}");
            }
            assert!(both.1.are_in(b"cd.example"));
        }
    }

    #[test]
    fn no_expression_is_in_nothing() {
        assert!(!LiteRegexps::new(&[], BYTES).expect("none").are_in(b"a.example"));
    }
}
