//! Lists of names as text, told apart line by line: plain names, hosts(5), dnsmasq(8), and the part
//! of the adblock syntax that is about names (`||name^`, and `@@||name^` for an exception).
//!
//! Adblock rules about more than a name (paths, wildcards, page elements, kinds of requests) mean
//! nothing to a resolver. They are counted and passed over, since every real list has some.

use super::Name;
use crate::ipset::ListProblem;
use std::net::IpAddr;

/// What hosts files say of the machine itself; no name to block or to route.
const OWN_NAMES: &[&str] = &[
    "localhost",
    "localhost.localdomain",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
];

/// What a list says of a name and its subdomains. The longest suffix wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It is in the list.
    In,
    /// It is not, though a shorter suffix is.
    Except,
}

/// Reads a list of names and hands over each. A line is one of these:
/// - a name (a leading `.` or `*.` does not count),
/// - an address with names,
/// - `server=/name/...` or `address=/name/...`; `server=/name/#` is an exception,
/// - `||name^`, also with `$important` behind it, or `@@||name^`, an exception.
///
/// Blank lines do not count, nor what follows a `#`, nor adblock comments. Returns the number of
/// adblock rules that were passed over.
///
/// # Errors
/// Every line that is none of these.
pub fn read_list(text: &str, mut add: impl FnMut(Name, Listed)) -> Result<usize, Vec<ListProblem>> {
    let mut problems = Vec::new();
    let mut passed_over = 0;
    for (number, line) in text.lines().enumerate() {
        match parse_line(line.trim(), &mut add) {
            Ok(Line::Understood) => {}
            Ok(Line::PassedOver) => passed_over += 1,
            Err(found) => problems.push(ListProblem {
                line: number + 1,
                found: found.chars().take(60).collect(),
                accepted: "a domain name, a hosts line, a dnsmasq line server=/name/... or an \
                           adblock rule ||name^"
                    .into(),
            }),
        }
    }
    if problems.is_empty() { Ok(passed_over) } else { Err(problems) }
}

enum Line {
    Understood,
    PassedOver,
}

fn parse_line<'a>(line: &'a str, add: &mut impl FnMut(Name, Listed)) -> Result<Line, &'a str> {
    // Comments and the header of adblock lists.
    if line.starts_with(['!', '[']) {
        return Ok(Line::Understood);
    }
    if let Some(rule) = adblock(line) {
        return Ok(match rule {
            Some((name, listed)) => {
                add(name, listed);
                Line::Understood
            }
            None => Line::PassedOver,
        });
    }
    let listed = if line.starts_with("server=/") && line.ends_with("/#") {
        Listed::Except
    } else {
        Listed::In
    };
    let entry = line.split('#').next().unwrap_or_default().trim();
    parse_entry(entry, |name| add(name, listed))?;
    Ok(Line::Understood)
}

/// `None`: no adblock syntax. `Some(None)`: a rule about more than a name.
fn adblock(line: &str) -> Option<Option<(Name, Listed)>> {
    let (pattern, listed) = match line.strip_prefix("@@") {
        Some(pattern) => (pattern, Listed::Except),
        None => (line, Listed::In),
    };
    if let Some(pattern) = pattern.strip_prefix("||") {
        let (name, options) = pattern.split_once('^').unwrap_or((pattern, "-"));
        let is_about_the_name = matches!(options, "" | "|" | "$important" | "$all");
        return Some(parse_name(name).filter(|_| is_about_the_name).map(|name| (name, listed)));
    }
    let is_other = listed == Listed::Except
        || line.starts_with(['/', '|'])
        || ["##", "#@#", "#?#", "#$#"].iter().any(|mark| is_inside(line, mark));
    is_other.then_some(None)
}

/// Page elements follow the name without a space, comments with one.
fn is_inside(line: &str, mark: &str) -> bool {
    line.split_once(mark)
        .is_some_and(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace))
}

fn parse_entry(entry: &str, mut add: impl FnMut(Name)) -> Result<(), &str> {
    if let Some((_, rest)) = entry.split_once("=/") {
        let (listed, _server) = rest.rsplit_once('/').ok_or(entry)?;
        for name in listed.split('/') {
            add(parse_name(name).ok_or(entry)?);
        }
        return Ok(());
    }
    let mut words = entry.split_whitespace();
    let Some(first) = words.next() else { return Ok(()) };
    if first.parse::<IpAddr>().is_ok() {
        for word in words.filter(|word| !OWN_NAMES.contains(word)) {
            // "0.0.0.0 0.0.0.0" stands in many block lists.
            if word.parse::<IpAddr>().is_err() {
                add(parse_name(word).ok_or(entry)?);
            }
        }
        return Ok(());
    }
    if words.next().is_some() {
        return Err(entry);
    }
    add(parse_name(first).ok_or(entry)?);
    Ok(())
}

fn parse_name(text: &str) -> Option<Name> {
    let text = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names, exceptions with a `-`; and how many rules were passed over.
    fn read(text: &str) -> (Vec<String>, usize) {
        let mut names = Vec::new();
        let passed_over = read_list(text, |name, listed| match listed {
            Listed::In => names.push(name.to_string()),
            Listed::Except => names.push(format!("-{name}")),
        });
        (names, passed_over.unwrap())
    }

    #[test]
    fn every_format() {
        assert_eq!(
            read("a.example\r\n# no\n\n*.b.example # c\n.c.example ## d\n").0,
            ["a.example", "b.example", "c.example"]
        );
        assert_eq!(
            read(
                "127.0.0.1 localhost\n0.0.0.0 ads.example t.example\n\
                 ::1 ip6-localhost\n0.0.0.0 0.0.0.0"
            )
            .0,
            ["ads.example", "t.example"]
        );
        assert_eq!(
            read("server=/a.example/b.example/192.0.2.1\naddress=/c.example/\nserver=/d.example/#")
                .0,
            ["a.example", "b.example", "c.example", "-d.example"]
        );
    }

    #[test]
    fn adblock_rules_about_names() {
        let (names, passed_over) = read(
            "[Adblock Plus 2.0]\n! a comment\n||Ads.example^\n||t.example^$important\n\
             @@||good.ads.example^\n@@||x.example^|\n||a.example^$third-party\n\
             ||b.example/path\n||c*.example^\n/banner[0-9]/\nd.example##.banner\n\
             e.example#@#.banner\n@@/f/",
        );
        assert_eq!(names, ["ads.example", "t.example", "-good.ads.example", "-x.example"]);
        assert_eq!(passed_over, 7);
    }

    #[test]
    fn slips_are_named() {
        let problems =
            read_list("a.example\nb..example\nserver=/x\nfoo bar", |_, _| {}).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(
            problems[0].to_string().starts_with("line 2: found \"b..example\"; accepted: a domain")
        );
    }
}
