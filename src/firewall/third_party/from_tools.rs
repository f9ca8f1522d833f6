//! Asks the tools for the rules of others.

use super::{ThirdParty, listed, saved};
use crate::family::Family;
use crate::firewall::tools::Iptables;
use crate::firewall::tools::command::run;
use crate::search_path::find;

impl ThirdParty {
    /// What is there now, of all that the installed tools can see. What they do not show has no
    /// say: then nothing is concluded from it.
    pub(in crate::firewall) fn read() -> Self {
        let mut tables = Vec::new();
        for family in Family::ALL {
            for tools in Iptables::every(family) {
                let text = tools.save().unwrap_or_default();
                tables.extend(saved::read(&text, &tools.to_string(), family));
            }
        }
        tables.extend(listed::read(&native_rules()));
        ThirdParty(tables)
    }
}

/// The rules of all nft tables, as text, without the elements of named sets, of which there may be
/// many; nothing where nft is not installed.
pub(in crate::firewall) fn native_rules() -> String {
    let Some(nft) = find("nft") else { return String::new() };
    // nft before 0.9.1 does not know "terse".
    let listed = run(&nft, &["-t", "list", "ruleset"], "");
    listed.or_else(|_| run(&nft, &["list", "ruleset"], "")).unwrap_or_default()
}
