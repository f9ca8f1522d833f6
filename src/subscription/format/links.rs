//! A list of links, one on each line.

use super::entry::{self, PROXY_SCHEMES};
use super::{BodyEntry, BodyFormat, SubscriptionBody};

/// Reads the lines of a text. Those without a link are comments, or words for other programs
/// (`STATUS=`, `REMARKS=`).
pub(super) fn read(text: &str) -> SubscriptionBody {
    let mut body = SubscriptionBody::new(BodyFormat::Links);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim().trim_start_matches('\u{feff}');
        let Some(scheme) = scheme(line) else { continue };
        body.take(match PROXY_SCHEMES.contains(&scheme.as_str()) {
            true => entry::of_link(line, None, || format!("line {}", number + 1)),
            false => {
                let name = line.split_once('#').map(|(_, tag)| tag);
                let name = name.and_then(crate::share_link::name_of_tag);
                let entry = name.unwrap_or_else(|| format!("line {}", number + 1));
                BodyEntry::OtherProtocol { protocol: scheme, entry }
            }
        });
    }
    body
}

/// The protocol of a line that is a link, in lower case.
pub(super) fn scheme(line: &str) -> Option<String> {
    let line = line.trim().trim_start_matches('\u{feff}');
    let (scheme, _) = line.split_once("://")?;
    let is_scheme = (1..=20).contains(&scheme.len())
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then(|| scheme.to_ascii_lowercase())
}
