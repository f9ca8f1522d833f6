//! Where the formats put what a line says, and what each of them needs to read it.

use super::ListUse;
use super::report::{ListFormat, UnusedReason};
use crate::domain::{Name, NameListBuilder};
use std::net::IpAddr;

/// What became of a line that says something.
pub(super) type LineOutcome = Result<ListFormat, UnusedReason>;

/// The list that is being read, and what it is for.
pub(super) struct NameSink<'a> {
    pub(super) list_use: ListUse,
    pub(super) list: &'a mut NameListBuilder,
}

/// A name, also with `.`, `*.` or `+.` in front, which do not count.
pub(super) fn name(text: &str) -> Result<Name, UnusedReason> {
    let bare = ["*.", "+.", "."].iter().find_map(|front| text.strip_prefix(front)).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Err(UnusedReason::Address);
    }
    match bare.parse() {
        Ok(name) if bare != "." => Ok(name),
        _ if !text.is_ascii() => Err(UnusedReason::NotAscii),
        _ if bare.contains('*') => Err(UnusedReason::Wildcard),
        _ if bare.contains('/') => Err(UnusedReason::Path),
        _ => Err(UnusedReason::Unknown),
    }
}
