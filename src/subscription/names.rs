//! `include` and `exclude`: globs over the names of a provider's servers.

use std::fmt;

/// A pattern in which `*` stands for any text and `?` for any character. Case is no difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    letters: Vec<char>,
    /// `*` and `?` are letters like others.
    is_literal: bool,
}

impl NamePattern {
    /// Takes the pattern over.
    pub fn new(pattern: &str) -> Self {
        NamePattern { letters: pattern.to_lowercase().chars().collect(), is_literal: false }
    }

    /// The pattern that fits this name only, whatever stands in it.
    pub fn exactly(name: &str) -> Self {
        NamePattern { letters: name.to_lowercase().chars().collect(), is_literal: true }
    }

    /// Whether the whole name is one of the pattern's. Its time is bounded by the product of their
    /// lengths: the names are a remote party's.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.to_lowercase().chars().collect();
        let pattern = &self.letters;
        if self.is_literal {
            return *pattern == name;
        }
        let (mut p, mut n) = (0, 0);
        // Where the last star stands, and how far it reaches.
        let mut star = None;
        while n < name.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(letter) if *letter == '?' || *letter == name[n] => {
                    p += 1;
                    n += 1;
                }
                _ => {
                    let Some((at, reach)) = star else { return false };
                    star = Some((at, reach + 1));
                    (p, n) = (at + 1, reach + 1);
                }
            }
        }
        pattern[p..].iter().all(|letter| *letter == '*')
    }
}

/// In quotes, as it may be written.
impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.letters.iter().collect::<String>())
    }
}

/// Which names of a subscription are taken.
#[derive(Clone, Debug)]
pub struct NameFilter {
    /// One of these has to fit.
    pub include: Vec<NamePattern>,
    /// And none of these.
    pub exclude: Vec<NamePattern>,
}

impl Default for NameFilter {
    fn default() -> Self {
        NameFilter { include: vec![NamePattern::new("*")], exclude: Vec::new() }
    }
}

impl NameFilter {
    /// Whether it lets a name through.
    pub fn takes(&self, name: &str) -> bool {
        let fits = |pattern: &NamePattern| pattern.matches(name);
        self.include.iter().any(fits) && !self.exclude.iter().any(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "香港 01", true),
            ("*香港*", "🇭🇰 香港 01", true),
            ("HK*", "hk-1", true),
            ("HK-?", "hk-1", true),
            ("HK-?", "hk-12", false),
            ("*ab", "xaab", true),
            ("*1", "a1b1", true),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("", "", true),
            ("", "a", false),
            ("日本", "日本 01", false),
        ] {
            assert_eq!(NamePattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
        let stars = "*a".repeat(200);
        assert!(!NamePattern::new(&format!("{stars}b")).matches(&"a".repeat(4000)));
    }
}
