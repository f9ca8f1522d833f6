//! What was not served lately, for those who ask why: connections, UDP sessions and names.
//!
//! Only what is refused comes here, so that what succeeds pays nothing. There are at most
//! [`MOST`] entries with bounded texts. What a program tries again and again is one entry that
//! counts, or one host would push out what all others were refused.

use super::{LiveFlow, LiveKind};
use crate::sync::lock;
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use tokio::time::Instant;

/// Entries that are kept: the latest.
const MOST: usize = 64;

/// Bytes of a cause that are kept: one that names every proxy may be long.
const LONGEST: usize = 400;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedKind {
    /// A TCP connection.
    Connection,
    /// The datagrams of one socket of a client.
    Datagrams,
    /// A question for a name, with the type of record that was asked for.
    Name(u16),
}

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalNote {
    /// What it was.
    pub kind: RefusedKind,
    /// When, the last time.
    pub at: Instant,
    /// How often.
    pub times: u64,
    /// The program's address, the last time.
    pub client: SocketAddr,
    /// Where it wanted to go, where that was known.
    pub destination: Option<SocketAddr>,
    /// The name of that, or the one that was asked for.
    pub name: Option<Box<str>>,
    /// Why, in the words of the log.
    pub cause: Box<str>,
}

/// The latest of them.
#[derive(Debug, Default)]
pub struct RecentRefusals(Mutex<VecDeque<RefusalNote>>);

impl RecentRefusals {
    /// A connection or a UDP session is not served.
    pub fn note_flow(&self, flow: &LiveFlow, cause: &dyn fmt::Display) {
        let kind = match flow.kind {
            LiveKind::Connection => RefusedKind::Connection,
            LiveKind::Datagrams => RefusedKind::Datagrams,
        };
        self.note(kind, flow.client, flow.destination(), flow.name(), cause);
    }

    /// The same where no entry of the flow exists, or for a name.
    pub fn note(
        &self,
        kind: RefusedKind,
        client: SocketAddr,
        destination: Option<SocketAddr>,
        name: Option<&str>,
        cause: &dyn fmt::Display,
    ) {
        let (mut cause, at) = (cause.to_string(), Instant::now());
        if let Some((end, _)) = cause.char_indices().find(|(at, _)| *at >= LONGEST) {
            cause.truncate(end);
            cause.push_str(" ...");
        }
        let mut all = lock(&self.0);
        let is_same = |known: &RefusalNote| {
            known.kind == kind
                && known.client.ip() == client.ip()
                && known.destination == destination
                && known.name.as_deref() == name
                && *known.cause == *cause
        };
        let known = all.iter().rposition(is_same).and_then(|place| all.remove(place));
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(match known {
            Some(known) => {
                RefusalNote { at, client, times: known.times.saturating_add(1), ..known }
            }
            None => {
                let (name, cause) = (name.map(Box::from), cause.into());
                RefusalNote { kind, at, times: 1, client, destination, name, cause }
            }
        });
    }

    /// All that are kept, the latest first.
    pub fn list(&self) -> Vec<RefusalNote> {
        lock(&self.0).iter().rev().cloned().collect()
    }
}

impl RefusalNote {
    /// Whether it is of this name or of one below it.
    pub fn is_of_name(&self, name: &str) -> bool {
        let Some(own) = self.name.as_deref() else { return false };
        let (own, name) = (own.trim_end_matches('.'), name.trim_end_matches('.'));
        let Some(before) = own.len().checked_sub(name.len()) else { return false };
        let is_end = own.as_bytes()[before..].eq_ignore_ascii_case(name.as_bytes());
        is_end && (before == 0 || own.as_bytes()[before - 1] == b'.')
    }

    /// Whether it was on its way to this address.
    pub fn is_to(&self, address: IpAddr) -> bool {
        self.destination.is_some_and(|it| it.ip().to_canonical() == address.to_canonical())
    }

    /// Whether this host was refused it.
    pub fn is_from(&self, address: IpAddr) -> bool {
        self.client.ip().to_canonical() == address.to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(refusals: &RecentRefusals, client: &str, name: &str, cause: &str) {
        let to = "203.0.113.1:443".parse().ok();
        let client = client.parse().unwrap();
        refusals.note(RefusedKind::Connection, client, to, Some(name), &cause);
    }

    #[test]
    fn what_is_tried_again_is_one_entry_and_the_latest() {
        let refusals = RecentRefusals::default();
        note(&refusals, "192.0.2.7:1", "example.com", "blocked by rule");
        note(&refusals, "192.0.2.8:1", "example.com", "blocked by rule");
        note(&refusals, "192.0.2.7:2", "example.com", "blocked by rule");
        note(&refusals, "192.0.2.8:2", "example.com", "all proxies are down");
        let list = refusals.list();
        let told: Vec<_> =
            list.iter().map(|it| (it.client.to_string(), it.times, &*it.cause)).collect();
        assert_eq!(
            told,
            [
                ("192.0.2.8:2".to_owned(), 1, "all proxies are down"),
                ("192.0.2.7:2".to_owned(), 2, "blocked by rule"),
                ("192.0.2.8:1".to_owned(), 1, "blocked by rule"),
            ]
        );
    }

    #[test]
    fn the_latest_are_kept_and_texts_are_bounded() {
        let refusals = RecentRefusals::default();
        for port in 1..=u16::try_from(2 * MOST).unwrap() {
            note(&refusals, "192.0.2.7:1", &format!("host{port}.example"), &"\u{e9}".repeat(5000));
        }
        let list = refusals.list();
        assert_eq!(list.len(), MOST);
        assert_eq!(list[0].name.as_deref(), Some("host128.example"));
        assert!(list.iter().all(|it| it.cause.len() <= LONGEST + 8 && it.cause.ends_with(" ...")));
    }

    #[test]
    fn whose_they_are() {
        let refusals = RecentRefusals::default();
        note(&refusals, "[::ffff:192.0.2.7]:1", "www.Example.com", "blocked by rule");
        let refusal = &refusals.list()[0];
        for (name, is_it) in [
            ("www.example.com", true),
            ("example.com.", true),
            ("w.example.com", false),
            ("ww.example.com", false),
            ("a.www.example.com", false),
        ] {
            assert_eq!(refusal.is_of_name(name), is_it, "{name}");
        }
        assert!(refusal.is_from("192.0.2.7".parse().unwrap()));
        assert!(!refusal.is_from("192.0.2.70".parse().unwrap()));
        assert!(refusal.is_to("::ffff:203.0.113.1".parse().unwrap()));
        assert!(!refusal.is_to("203.0.113.2".parse().unwrap()));
    }
}
