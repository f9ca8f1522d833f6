//! Lists of prefixes as text: one prefix or address a line, `#` comments.

use super::IpSet;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// A line of a list that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListProblem {
    /// Counted from 1.
    pub line: usize,
    /// What stands there, shortened.
    pub found: String,
    /// What would be right.
    pub accepted: String,
}

impl fmt::Display for ListProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: found \"{}\"; accepted: {}", self.line, self.found, self.accepted)
    }
}

impl IpSet {
    /// Reads a list: one prefix or address a line; blank lines and what follows a `#` do not
    /// count.
    ///
    /// # Errors
    /// Every line that is neither; a prefix with host bits is one, since it is a slip of the pen
    /// whose meaning cannot be guessed.
    pub fn parse_list(text: &str) -> Result<IpSet, Vec<ListProblem>> {
        let mut nets = Vec::new();
        let mut problems = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            match parse_prefix(entry) {
                Ok(net) => nets.push(net),
                Err(accepted) => problems.push(ListProblem {
                    line: number + 1,
                    found: entry.chars().take(60).collect(),
                    accepted,
                }),
            }
        }
        if problems.is_empty() { Ok(nets.into_iter().collect()) } else { Err(problems) }
    }
}

/// Reads one prefix or address.
///
/// # Errors
/// What would be right, for the operator.
pub fn parse_prefix(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    match text.parse::<IpNet>() {
        Ok(net) if net.addr() == net.network() => Ok(net),
        Ok(net) => Err(format!("{} (the prefix without host bits)", net.trunc())),
        Err(_) => Err("an address or prefix, for example 192.0.2.0/24 or 2001:db8::/32".into()),
    }
}
