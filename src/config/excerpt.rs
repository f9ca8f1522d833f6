//! Which line of the file is shown with a problem, and what on it is meant. Pure.
//!
//! Invariant: no excerpt shows what may be a secret, whatever is wrong around it. So the value is
//! shown only of a key that is known and holds none, on a line that has nothing of a secret and no
//! other key; a comment never; and of a line that is no TOML nothing, unless it begins with a key.

use super::Excerpt;
use super::keys::Keys;
use std::ops::Range;

/// A longer line is no help; the problem names its number.
const LONGEST: usize = 200;

/// Words that stand where secrets do: keys, parts of links, options of plugins.
const OF_SECRETS: [&str; 9] =
    ["pass", "link", "url", "option", "token", "secret", "user", "://", "@"];

/// Sections in which a value may be one.
const WITH_SECRETS: [&str; 2] = ["proxy", "subscription"];

/// What a problem is about.
pub(super) enum ProblemPlace<'a> {
    /// A key, as messages spell it, and what of the text: the value, or the key itself. An empty
    /// range is the whole line.
    OfKey { key: &'a str, meant: Range<usize> },
    /// The byte from which on it is no TOML.
    Syntax(usize),
}

/// Where the newlines of a text are.
pub(super) fn line_ends(text: &str) -> Vec<usize> {
    text.match_indices('\n').map(|(at, _)| at).collect()
}

/// The line of it. `None`: it is empty, too long, or cannot be shown.
pub(super) fn excerpt(
    text: &str,
    line_ends: &[usize],
    keys: &Keys,
    place: &ProblemPlace<'_>,
) -> Option<Excerpt> {
    let at = match place {
        ProblemPlace::OfKey { meant, .. } => meant.start,
        ProblemPlace::Syntax(at) => *at,
    };
    let number = line_ends.partition_point(|end| *end < at);
    let begin = if number == 0 { 0 } else { line_ends[number - 1] + 1 };
    let end = line_ends.get(number).copied().unwrap_or(text.len());
    let line = text.get(begin..end)?;
    // Where it stands in a value, that much less is shown.
    let line = line.split_once('#').map_or(line, |(before, _)| before).trim_end();
    if line.trim().is_empty() || line.chars().count() > LONGEST {
        return None;
    }
    let shown = match place {
        ProblemPlace::OfKey { key, .. } if may_be_shown(line, key, keys) => line.len(),
        ProblemPlace::Syntax(_) if is_harmless(line, keys) => line.len(),
        _ if line.trim_start().starts_with('[') && !holds_secret(line) => line.len(),
        // A password by itself may end with a `=`.
        ProblemPlace::Syntax(_) if !begins_with_key(line, keys) => return None,
        _ => line.find('=')? + 1,
    };
    let meant = match place {
        ProblemPlace::OfKey { meant, .. } if meant.is_empty() => 0..line.len(),
        // A value may go on in the lines below.
        ProblemPlace::OfKey { meant, .. } => {
            meant.start - begin..(meant.end - begin).min(line.len())
        }
        ProblemPlace::Syntax(at) => at - begin..at - begin + 1,
    };
    // What cannot be shown cannot be pointed at: then it is the key.
    let meant = if meant.start >= shown && shown < line.len() { 0..shown - 1 } else { meant };
    let meant = meant.start.min(line.len())..meant.end.min(shown).max(meant.start);
    let ellipsis = if shown < line.len() { " ..." } else { "" };
    let before = line.get(..meant.start)?;
    let is_lead = |c: &char| c.is_whitespace() || *c == '\u{feff}';
    let lead = line[meant.start..].chars().take_while(is_lead).count();
    let length = line.get(meant)?.trim().chars().count().max(1);
    Some(Excerpt {
        line: number + 1,
        text: format!("{}{ellipsis}", line.get(..shown)?),
        begin: before.chars().count() + lead,
        length,
    })
}

/// Whether the line of a key may be shown whole.
fn may_be_shown(line: &str, key: &str, keys: &Keys) -> bool {
    let section = key.split(['.', '[']).next().unwrap_or_default();
    let name = key.rsplit('.').next().unwrap_or_default();
    let of_operator = key.contains('"');
    let is_known = |section: &str, name: &str| keys.of(section).contains(&name);
    if WITH_SECRETS.contains(&section) {
        // What stands beside it may be one under a name that nobody knows.
        let is_alone = line.matches('=').count() <= 1;
        return is_alone && (is_known(section, name) || name == key) && !holds_secret(line);
    }
    (is_known(section, name) || is_known("", name) || of_operator) && !holds_secret(line)
}

/// The same of a line that is no TOML: its section is not known.
fn is_harmless(line: &str, keys: &Keys) -> bool {
    let is_section = line.trim_start_matches(['\u{feff}', ' ', '\t']).starts_with('[');
    (is_section || begins_with_key(line, keys)) && !holds_secret(line)
}

fn begins_with_key(line: &str, keys: &Keys) -> bool {
    let line = line.trim_start_matches(['\u{feff}', ' ', '\t']);
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    let word = &line[..end.unwrap_or(line.len())];
    keys.sections().any(|section| keys.of(section).contains(&word))
}

fn holds_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    OF_SECRETS.iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::super::read::keys;
    use super::*;

    fn shown(text: &str, place: ProblemPlace<'_>) -> Option<String> {
        let place = excerpt(text, &line_ends(text), keys(), &place)?;
        let Excerpt { line, text, begin, length } = place;
        Some(format!("{line} {text}|{}{}", " ".repeat(begin), "^".repeat(length)))
    }

    #[test]
    fn what_is_meant_is_marked() {
        let of = |key, meant| ProblemPlace::OfKey { key, meant };
        assert_eq!(shown("a\nmode = 5\n", of("mode", 9..10)).unwrap(), "2 mode = 5|       ^");
        let list = "[dns]\nchina = [\n  \"é\", \"b\",\n]";
        assert_eq!(shown(list, of("dns.china", 24..27)).unwrap(), "3   \"é\", \"b\",|       ^^^");
        assert_eq!(
            shown("\n[[proxy]]", of("proxy[1].type", 1..1)).unwrap(),
            "2 [[proxy]]|^^^^^^^^^"
        );
        let header = "[lisen]\nx = 1";
        assert_eq!(shown(header, of("lisen", 1..6)).unwrap(), "1 [lisen]| ^^^^^");
        assert_eq!(shown("mode = x", ProblemPlace::Syntax(7)).unwrap(), "1 mode = x|       ^");
        assert_eq!(shown("mode =", ProblemPlace::Syntax(6)).unwrap(), "1 mode =|      ^");
        assert_eq!(shown("mode = 5\n", of("proxy", 9..9)), None);
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let of = |key, meant| ProblemPlace::OfKey { key, meant };
        let passwort = "[[proxy]]\n  passwort = \"hunter2\"";
        assert_eq!(
            shown(passwort, of("proxy[1].passwort", 12..20)).unwrap(),
            "2   passwort = ...|  ^^^^^^^^"
        );
        let key = "[[proxy]]\npw = \"hunter2\"";
        assert_eq!(shown(key, of("proxy[1].pw", 10..12)).unwrap(), "2 pw = ...|^^");
        let password = "password = \"\"";
        assert_eq!(
            shown(password, of("proxy[1].password", 11..13)).unwrap(),
            "1 password = ...|^^^^^^^^"
        );
        for line in
            ["pw = hunter2", "password = hunter2", "link = ss://hunter2", "\"hunter2", "hunter2"]
        {
            let shown = shown(line, ProblemPlace::Syntax(line.len() - 1)).unwrap_or_default();
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        // Keys of shadowsocks are base64, which may end with such signs.
        for line in ["aHVudGVyMg==", "  \"aHVudGVyMg==\"", "mode\naHVudGVyMg="] {
            assert_eq!(shown(line, ProblemPlace::Syntax(line.len() - 1)), None, "{line}");
        }
        let server = "server = \"me:hunter2@a.example:1\"";
        assert_eq!(shown(server, of("proxy[1].server", 9..33)).unwrap(), "1 server = ...|^^^^^^");
        let inline = "proxy = [{ server = 5, pw = \"hunter2\" }]";
        assert_eq!(shown(inline, of("proxy[1].server", 20..21)).unwrap(), "1 proxy = ...|^^^^^");
        let comment = "udp = 7 # hunter2";
        assert_eq!(shown(comment, of("proxy[1].udp", 6..7)).unwrap(), "1 udp = 7|      ^");
    }
}
