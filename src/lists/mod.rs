//! Lists of names and of addresses, as they are published: read as they are.
//!
//! Theory of operation. A list is written for a program of its own, which ignores what it does
//! not understand, and no list of a hundred thousand lines is free of that. So no line is an
//! error. Each is *used*, is *blank* (comments and headers too), or is *passed over* for an
//! [`UnusedReason`], and the [`ListReport`] counts all of them and shows the first ones. Only a
//! file that yields nothing is an error, which the caller reports.
//!
//! The format is found line by line, since what is published mixes them. This works because they
//! are told apart by what stands first, tried in this order:
//!
//! | format | a line begins with | file |
//! |---|---|---|
//! | any | `#`, `!`, `;`, `//`, `[`: a comment or header | `text` |
//! | adblock | `@@`, `\|`, `/`; or has `##`, `^`, `*` or a path in it | `adblock` |
//! | dnsmasq | a directive and `=` | `dnsmasq` |
//! | v2fly | a kind and `:`; or has an attribute (`@cn`) | `v2fly` |
//! | hosts(5) | an address, and names behind it | `hosts` |
//! | plain | a name, also with `.`, `*.` or `+.` in front | `names` |
//!
//! A file as a whole is decoded first: a byte order mark goes, and base64, which gfwlist comes in,
//! is taken off. Lists of addresses have formats of their own (`prefixes`).
//!
//! What a line means depends on what the list is for ([`ListUse`]). Where `||example.com/path^`
//! stands, a resolver cannot block the path alone, and blocking the name would block too much; but
//! in a list of foreign sites it says that the site is foreign.
//!
//! Sources: hosts(5); dnsmasq(8); help.adblockplus.org and the "DNS filtering rules syntax" of
//! AdGuard; the README of v2fly/domain-list-community; "RIR statistics exchange format" of APNIC.

mod adblock;
mod dnsmasq;
mod hosts;
mod names;
mod prefixes;
mod report;
mod sink;
mod text;
mod v2fly;

pub use names::{Includes, read_names};
pub use prefixes::read_prefixes;
pub use report::{ListFormat, ListReport, UnusedReason};

/// What a list of names is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListUse {
    /// Its names do not exist.
    Block,
    /// The domestic servers are asked.
    Domestic,
    /// The trusted servers are asked, and the proxy carries the traffic.
    Foreign,
}

#[cfg(test)]
mod tests;
