//! Every key of the file, and what to say of a key that is none of them.

/// Sections and their keys, in the order of `config.example.toml`. The keys of the first section
/// stand at the top of the file; `proxy` is a list of tables. Names in `dns.forward` and
/// `dns.hosts` are the operator's.
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    ("", &["mode", "scope", "listen", "proxy", "dns", "rules", "firewall", "log", "control"]),
    ("listen", &["address", "tcp-port", "dns-port"]),
    (
        "proxy",
        &[
            "name",
            "type",
            "server",
            "method",
            "username",
            "password",
            "password-file",
            "connect-timeout",
            "fast-open",
            "multipath",
        ],
    ),
    (
        "dns",
        &[
            "china",
            "trusted",
            "trusted-via",
            "local",
            "forward",
            "timeout",
            "cache-size",
            "min-ttl",
            "max-ttl",
            "block-types",
            "bogus",
            "hosts",
            "https-records",
            "no-leak",
            "no-leak-subnet",
            "rate-limit",
            "case-randomization",
            "log-queries",
            "cache-file",
        ],
    ),
    (
        "rules",
        &[
            "direct",
            "proxy",
            "block",
            "direct-sources",
            "direct-users",
            "direct-cgroups",
            "china-ip-file",
            "china-domain-file",
            "block-domain-file",
        ],
    ),
    ("firewall", &["backend", "interfaces", "ipv6", "quic", "on-failure"]),
    ("log", &["level"]),
    ("control", &["socket"]),
];

/// The keys of a section.
pub(super) fn of(section: &str) -> &'static [&'static str] {
    SECTIONS.iter().find(|(name, _)| *name == section).map_or(&[], |(_, keys)| *keys)
}

/// What the operator probably meant by a key that `section` does not have; empty if nobody knows.
pub(super) fn hint(section: &str, key: &str) -> String {
    let spelled = nearest(key, of(section));
    if let Some(meant) = spelled.filter(|meant| distance(&plain(key), &plain(meant)) <= 1) {
        return format!("did you mean \"{meant}\"?");
    }
    let homes: Vec<String> = SECTIONS
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
    for (name, keys) in SECTIONS {
        if let Some(meant) = nearest(key, keys) {
            return format!("did you mean \"{meant}\" {}?", title(name));
        }
    }
    String::new()
}

fn title(section: &str) -> String {
    match section {
        "" => "at the top of the file, before the first [section]".into(),
        "proxy" => "in [[proxy]]".into(),
        name => format!("in [{name}]"),
    }
}

/// The candidate that `word` is a slip of the pen for.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // Whoever writes a novel meant none of our words; and the distance costs its length squared.
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

/// Levenshtein's: insertions, deletions and replacements.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
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
    }

    #[test]
    fn hints() {
        assert_eq!(hint("listen", "tcp_port"), "did you mean \"tcp-port\"?");
        assert_eq!(hint("", "proxys"), "did you mean \"proxy\"?");
        assert_eq!(hint("", "tcp-port"), "it belongs in [listen]");
        assert_eq!(
            hint("dns", "proxy"),
            "it belongs at the top of the file, before the first [section] or in [rules]"
        );
        assert_eq!(hint("dns", "passwort"), "did you mean \"password\" in [[proxy]]?");
        assert_eq!(hint("dns", "colour"), "");
    }
}
