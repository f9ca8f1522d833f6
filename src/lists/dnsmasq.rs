//! Directives of dnsmasq(8) about names: `server=/name/...`, `address=/name/...` and the like.

use super::ListUse;
use super::hosts::is_nowhere_or_nothing;
use super::report::{ListFormat, UnusedReason};
use super::sink::{LineOutcome, NameSink, name};
use crate::domain::{Listed, Reach};

/// `None`: no such line.
pub(super) fn line(sink: &mut NameSink<'_>, line: &str) -> Option<Option<LineOutcome>> {
    let (directive, value) = line.split_once('=')?;
    let is_word = |c: char| c.is_ascii_lowercase() || c == '-';
    let directive = directive.trim_end();
    if directive.is_empty() || !directive.chars().all(is_word) {
        return None;
    }
    Some(Some(about_names(sink, directive, value.trim())))
}

fn about_names(sink: &mut NameSink<'_>, directive: &str, value: &str) -> LineOutcome {
    // Sets of the kernel are filled for a route, not to block.
    let is_for_sets = matches!(directive, "ipset" | "nftset") && sink.list_use != ListUse::Block;
    if !is_for_sets && !matches!(directive, "server" | "local" | "address") {
        return Err(UnusedReason::Directive);
    }
    let value = value.strip_prefix('/').ok_or(UnusedReason::Directive)?;
    let (names, target) = value.rsplit_once('/').ok_or(UnusedReason::Unknown)?;
    if directive == "address" && !is_nowhere_or_nothing(target) {
        return Err(UnusedReason::OtherAddress);
    }
    // "#": as if the other line were not there.
    let is_exception = matches!(directive, "server" | "local") && target == "#";
    let listed = if is_exception { Listed::Otherwise } else { Listed::In };
    let mut outcome = Err(UnusedReason::Unknown);
    for text in names.split('/') {
        match name(text) {
            Ok(name) => {
                sink.list.add(&name, Reach::Suffix, listed);
                outcome = Ok(ListFormat::Dnsmasq);
            }
            Err(reason) if outcome.is_err() => outcome = Err(reason),
            Err(_) => {}
        }
    }
    outcome
}
