//! Lists of names as text: plain, hosts format, or dnsmasq lines, told apart line by line.

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

/// Reads a list of names. A line is a name (a leading `.` or `*.` does not count), or an address
/// with names (hosts(5)), or `server=/name/...` or `address=/name/...` (dnsmasq(8)). Blank lines
/// and what follows a `#` do not count.
///
/// # Errors
/// Every line that is none of these.
pub fn parse_list(text: &str) -> Result<Vec<Name>, Vec<ListProblem>> {
    let mut names = Vec::new();
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if let Err(found) = parse_line(entry, &mut names) {
            problems.push(ListProblem {
                line: number + 1,
                found: found.chars().take(60).collect(),
                accepted: "a domain name, a hosts line or a dnsmasq line server=/name/...".into(),
            });
        }
    }
    if problems.is_empty() { Ok(names) } else { Err(problems) }
}

fn parse_line<'a>(entry: &'a str, names: &mut Vec<Name>) -> Result<(), &'a str> {
    if let Some((_, rest)) = entry.split_once("=/") {
        let (listed, _server) = rest.rsplit_once('/').ok_or(entry)?;
        for name in listed.split('/') {
            names.push(parse_name(name).ok_or(entry)?);
        }
        return Ok(());
    }
    let mut words = entry.split_whitespace();
    let Some(first) = words.next() else { return Ok(()) };
    if first.parse::<IpAddr>().is_ok() {
        for word in words.filter(|word| !OWN_NAMES.contains(word)) {
            // "0.0.0.0 0.0.0.0" stands in many block lists.
            if word.parse::<IpAddr>().is_err() {
                names.push(parse_name(word).ok_or(entry)?);
            }
        }
        return Ok(());
    }
    if words.next().is_some() {
        return Err(entry);
    }
    names.push(parse_name(first).ok_or(entry)?);
    Ok(())
}

fn parse_name(text: &str) -> Option<Name> {
    let text = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        parse_list(text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_format() {
        assert_eq!(
            read("a.example\r\n# no\n\n*.b.example # c\n.c.example"),
            ["a.example", "b.example", "c.example"]
        );
        assert_eq!(
            read(
                "127.0.0.1 localhost\n0.0.0.0 ads.example t.example\n::1 ip6-localhost\n0.0.0.0 0.0.0.0"
            ),
            ["ads.example", "t.example"]
        );
        assert_eq!(
            read("server=/a.example/b.example/192.0.2.1\naddress=/c.example/"),
            ["a.example", "b.example", "c.example"]
        );
    }

    #[test]
    fn slips_are_named() {
        let problems = parse_list("a.example\nb..example\nserver=/x\nfoo bar").unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(
            problems[0].to_string().starts_with("line 2: found \"b..example\"; accepted: a domain")
        );
    }
}
