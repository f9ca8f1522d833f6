//! The keys of the file, and what to say of a key that is none of them.

/// Sections and their keys, each in the order in which they are asked for. The keys of the section
/// without a name stand at the top of the file; `proxy`, `subscription` and `group` are
/// lists of tables. Names in `dns.forward`, `dns.hosts` and `rules.via` are the operator's.
#[derive(Debug, Default)]
pub(super) struct Keys {
    sections: Vec<(&'static str, Vec<&'static str>)>,
}

impl Keys {
    /// Adds a key, once.
    pub(super) fn add(&mut self, section: &'static str, key: &'static str) {
        match self.sections.iter_mut().find(|(name, _)| *name == section) {
            Some((_, keys)) if keys.contains(&key) => {}
            Some((_, keys)) => keys.push(key),
            None => self.sections.push((section, vec![key])),
        }
    }

    /// Whether they are still to be found out.
    pub(super) fn is_empty(&self) -> bool {
        self.sections.is_empty()
    }

    /// The keys of a section.
    pub(super) fn of(&self, section: &str) -> &[&'static str] {
        self.sections.iter().find(|(name, _)| *name == section).map_or(&[], |(_, keys)| keys)
    }

    /// The names of the sections.
    pub(super) fn sections(&self) -> impl Iterator<Item = &'static str> {
        self.sections.iter().map(|(name, _)| *name)
    }

    /// All of them, with their sections.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.sections.iter().flat_map(|(name, keys)| keys.iter().map(|key| (*name, *key)))
    }

    /// What the operator probably meant by a key that `section` does not have; empty if that cannot
    /// be guessed.
    pub(super) fn hint(&self, section: &str, key: &str) -> String {
        let spelled = nearest(key, self.of(section));
        if let Some(meant) = spelled.filter(|meant| distance(&plain(key), &plain(meant)) <= 1) {
            return format!("did you mean \"{meant}\"?");
        }
        let homes: Vec<String> = self
            .sections
            .iter()
            .filter(|(name, keys)| *name != section && keys.contains(&key))
            .map(|(name, _)| title(name))
            .collect();
        if !homes.is_empty() {
            return format!("it belongs {}", homes.join(" or "));
        }
        if let Some(meant) = spelled {
            return format!("did you mean \"{meant}\"?");
        }
        for (name, keys) in &self.sections {
            if let Some(meant) = nearest(key, keys) {
                return format!("did you mean \"{meant}\" {}?", title(name));
            }
        }
        String::new()
    }
}

fn title(section: &str) -> String {
    match section {
        "" => "at the top of the file, before the first [section]".into(),
        "proxy" | "subscription" => format!("in [[{section}]]"),
        name => format!("in [{name}]"),
    }
}

/// The candidate that `word` is a slip of the pen for.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // A text of that length is no slip; and the distance costs its length squared.
    if word.len() > 40 {
        return None;
    }
    let word = plain(word);
    candidates
        .iter()
        .map(|candidate| (distance(&word, &plain(candidate)), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Case and the choice between `_` and `-` are no difference worth counting.
fn plain(word: &str) -> Vec<char> {
    word.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Insertions, deletions, replacements and swaps of two neighbours ("optimal string alignment").
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // The one above that one.
    let mut before = row.clone();
    for (i, left) in a.iter().enumerate() {
        let mut next = vec![i + 1; b.len() + 1];
        for (j, right) in b.iter().enumerate() {
            let replaced = row[j] + usize::from(left != right);
            next[j + 1] = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *left == b[j - 1] && a[i - 1] == *right {
                next[j + 1] = next[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let between = |a, b| distance(&plain(a), &plain(b));
        assert_eq!(between("kitten", "sitting"), 3);
        assert_eq!(between("", "abc"), 3);
        assert_eq!(between("TCP_port", "tcp-port"), 0);
        assert_eq!(between("chnia", "china"), 1, "swapped letters are one slip");
        assert_eq!(between("ca", "abc"), 3);
    }

    #[test]
    fn hints() {
        let mut keys = Keys::default();
        for (section, key) in [
            ("", "mode"),
            ("", "proxy"),
            ("listen", "tcp-port"),
            ("proxy", "password"),
            ("dns", "china"),
            ("rules", "proxy"),
        ] {
            keys.add(section, key);
            keys.add(section, key);
        }
        assert_eq!(keys.of(""), ["mode", "proxy"]);
        assert_eq!(keys.hint("listen", "tcp_port"), "did you mean \"tcp-port\"?");
        assert_eq!(keys.hint("", "proxys"), "did you mean \"proxy\"?");
        assert_eq!(keys.hint("", "tcp-port"), "it belongs in [listen]");
        assert_eq!(
            keys.hint("dns", "proxy"),
            "it belongs at the top of the file, before the first [section] or in [rules]"
        );
        assert_eq!(keys.hint("dns", "passwort"), "did you mean \"password\" in [[proxy]]?");
        assert_eq!(keys.hint("dns", "colour"), "");
    }
}
