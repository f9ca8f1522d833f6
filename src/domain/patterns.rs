//! Parts of names and regular expressions, as lists in v2fly's format have them. Both are bounded:
//! a list comes from elsewhere, and every query that no cache answers is held against them.

#[cfg(not(feature = "regex"))]
use super::lite_search::{Keywords, Regexps};
#[cfg(feature = "regex")]
use super::search::{Keywords, Regexps};

/// Parts of names, and their bytes together.
const MOST_KEYWORDS: usize = 10_000;
const KEYWORD_BYTES: usize = 256 << 10;

/// Regular expressions, and the bytes that each takes when it is compiled.
const MOST_REGEXPS: usize = 512;
const REGEXP_BYTES: usize = 32 << 10;

/// Why a pattern is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// There are too many already.
    TooMany,
    /// It is none, or takes too much memory.
    Unusable,
}

/// Patterns that are still being gathered.
#[derive(Debug, Default)]
pub(super) struct PatternsBuilder {
    keywords: Vec<String>,
    keyword_bytes: usize,
    regexps: Vec<String>,
}

impl PatternsBuilder {
    pub(super) fn keyword(&mut self, text: &str) -> Result<(), PatternError> {
        let text = text.to_ascii_lowercase();
        let is_part_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || !text.chars().all(is_part_of_name) {
            return Err(PatternError::Unusable);
        }
        let bytes = self.keyword_bytes + text.len();
        if self.keywords.len() == MOST_KEYWORDS || bytes > KEYWORD_BYTES {
            return Err(PatternError::TooMany);
        }
        self.keyword_bytes = bytes;
        self.keywords.push(text);
        Ok(())
    }

    pub(super) fn regexp(&mut self, text: &str) -> Result<(), PatternError> {
        if self.regexps.len() == MOST_REGEXPS {
            return Err(PatternError::TooMany);
        }
        if !Regexps::is_one(text, REGEXP_BYTES) {
            return Err(PatternError::Unusable);
        }
        self.regexps.push(text.to_owned());
        Ok(())
    }

    /// `None`: there are none.
    pub(super) fn build(mut self) -> Option<Patterns> {
        for texts in [&mut self.keywords, &mut self.regexps] {
            texts.sort_unstable();
            texts.dedup();
        }
        if self.keywords.is_empty() && self.regexps.is_empty() {
            return None;
        }
        // Both are made of parts that were tried, within limits that hold all of them.
        let found = Keywords::new(&self.keywords)
            .zip(Regexps::new(&self.regexps, (MOST_REGEXPS + 1) * REGEXP_BYTES));
        found.map(|(keywords, regexps)| Patterns {
            keywords,
            regexps,
            texts: [self.keywords, self.regexps],
        })
    }
}

/// Parts of names and regular expressions, ready to be looked for.
#[derive(Clone)]
pub(super) struct Patterns {
    keywords: Keywords,
    regexps: Regexps,
    texts: [Vec<String>; 2],
}

impl Patterns {
    /// The number of patterns.
    pub(super) fn len(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }

    /// Whether one of them is in the name, given in lower-case wire form.
    pub(super) fn are_in(&self, name: &[u8]) -> bool {
        let mut dotted = [0u8; super::LONGEST_NAME];
        let (mut end, mut at) = (0, 0);
        while let Some(length) = name.get(at).map(|length| usize::from(*length))
            && length != 0
            && let Some(label) = name.get(at + 1..at + 1 + length)
            && let Some(place) = dotted.get_mut(end..end + length + 1)
        {
            let (text, dot) = place.split_at_mut(length);
            text.copy_from_slice(label);
            dot.fill(b'.');
            end += length + 1;
            at += length + 1;
        }
        let text = &dotted[..end.saturating_sub(1)];
        self.keywords.are_in(text) || self.regexps.are_in(text)
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}
