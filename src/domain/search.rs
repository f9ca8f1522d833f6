//! Parts of names, and regular expressions, that are looked for all at once, by automata: one step
//! for each byte of a name. A build without the feature `regex` has
//! [`lite_search`](super::lite_search) in their place.

use aho_corasick::AhoCorasick;
use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};

#[derive(Clone)]
pub(super) struct Keywords(AhoCorasick);

impl Keywords {
    /// `None`: there is no memory for so many.
    pub(super) fn new(texts: &[String]) -> Option<Self> {
        AhoCorasick::new(texts).ok().map(Keywords)
    }

    /// Whether one of them is in the name, given as it is written, in lower case.
    pub(super) fn are_in(&self, name: &[u8]) -> bool {
        self.0.is_match(name)
    }
}

/// What a thread keeps of a set of expressions to be fast.
const REGEXP_CACHE: usize = 512 << 10;

#[derive(Clone)]
pub(super) struct Regexps(RegexSet);

impl Regexps {
    /// Whether such an expression can be one of them, which may take so many bytes.
    pub(super) fn is_one(text: &str, bytes: usize) -> bool {
        let one =
            RegexBuilder::new(text).unicode(false).case_insensitive(true).size_limit(bytes).build();
        one.is_ok()
    }

    /// `None`: one of them cannot be, or together they take more bytes.
    pub(super) fn new(texts: &[String], bytes: usize) -> Option<Self> {
        let all = RegexSetBuilder::new(texts)
            .unicode(false)
            .case_insensitive(true)
            .size_limit(bytes)
            .dfa_size_limit(REGEXP_CACHE)
            .build();
        all.ok().map(Regexps)
    }

    /// Whether one of them is in the name, given as it is written, in lower case.
    pub(super) fn are_in(&self, name: &[u8]) -> bool {
        self.0.is_match(name)
    }
}
