//! What `snet status` says beside what flows: whose word about names is believed, how old the lists
//! are, what was reloaded, and what was refused lately.

use super::{Span, StatusView};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Refusals that a person is shown.
const SHOWN_REFUSALS: usize = 3;

/// Reloads that a person is shown: a subscription's may follow the operator's own.
const SHOWN_RELOADS: usize = 3;

/// What the domestic name servers said where their word was weighed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustView {
    /// Replies of which it was judged whether they are to be believed.
    pub weighed: u64,
    /// Those with foreign addresses only: forged or true, the trusted side decided.
    pub foreign: u64,
    /// Those with an address that cannot be true.
    pub forged: u64,
    /// Addresses that the name servers were found to give for names that do not exist.
    pub forging: Vec<IpAddr>,
}

/// A list, or the body of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListView {
    /// `list` or `subscription`.
    pub kind: String,
    /// Where it comes from, and what was found in it.
    pub says: String,
    /// Seconds since its data were written or fetched, where that is known.
    pub age: Option<u64>,
    /// Seconds since snet read it.
    pub read: Option<u64>,
    /// Seconds until it is fetched again; 0: it is due.
    pub next: Option<u64>,
}

/// A reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadView {
    /// Seconds since it ended.
    pub age: u64,
    /// Who asked for it, in words.
    pub by: String,
    /// What it changed, one subject each.
    pub changes: Vec<String>,
    /// Why it changed nothing.
    pub refused: Option<String>,
}

/// Something that was not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalView {
    /// `tcp`, `udp` or `name`.
    pub network: String,
    /// Seconds since the last time.
    pub age: u64,
    /// How often.
    pub times: u64,
    /// The program's address, the last time.
    pub client: SocketAddr,
    /// Where it wanted to go, where that was known.
    pub destination: Option<SocketAddr>,
    /// The name of that, or the one that was asked for.
    pub name: Option<String>,
    /// The type of record that was asked for, where it was a question for a name.
    #[serde(default)]
    pub record: Option<String>,
    /// Why, in the words of the log.
    pub cause: String,
}

impl StatusView {
    pub(super) fn write_trust(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.trust.weighed {
            0 => Ok(()),
            _ => writeln!(f, "{}", self.trust),
        }
    }

    pub(super) fn write_lists(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for list in &self.sources {
            writeln!(f, "{list}")?;
        }
        // An older daemon tells no more of them.
        let told = |list: &&String| self.sources.iter().any(|it| it.says == **list);
        for list in self.lists.iter().filter(|list| !told(list)) {
            writeln!(f, "list {list}")?;
        }
        Ok(())
    }

    pub(super) fn write_events(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for reload in self.reloads.iter().take(SHOWN_RELOADS) {
            writeln!(f, "{reload}")?;
        }
        let all = self.refusals.len();
        if all > 0 {
            let which = if all > SHOWN_REFUSALS { "; the latest" } else { "" };
            writeln!(f, "refused lately: {all}{which}")?;
        }
        for refusal in self.refusals.iter().take(SHOWN_REFUSALS) {
            writeln!(f, "  {refusal}")?;
        }
        Ok(())
    }
}

impl fmt::Display for TrustView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TrustView { weighed, foreign, forged, forging } = self;
        write!(f, "domestic answers: {weighed} weighed")?;
        if *foreign > 0 {
            write!(f, ", {foreign} foreign or forged, so the trusted side decided")?;
        }
        match forged {
            0 => write!(f, ", none surely forged")?,
            forged => write!(f, ", {forged} surely forged and not believed")?,
        }
        if !forging.is_empty() {
            let addresses: Vec<_> = forging.iter().map(IpAddr::to_string).collect();
            let addresses = addresses.join(" ");
            write!(f, "; given for names that do not exist: {addresses}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ListView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListView { kind, says, age, read, next } = self;
        write!(f, "{kind} {says}")?;
        // That of a body is in its words.
        if let Some(age) = age.filter(|_| kind != "subscription") {
            write!(f, "; {} old", Span(age))?;
        }
        if let Some(read) = read {
            write!(f, "; read {} ago", Span(*read))?;
        }
        match next {
            Some(0) => write!(f, "; to be fetched now"),
            Some(next) => write!(f, "; fetched again in {}", Span(*next)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ReloadView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReloadView { age, by, changes, refused } = self;
        write!(f, "reload {} ago by {by}: ", Span(*age))?;
        match (refused, changes.is_empty()) {
            (Some(why), _) => f.write_str(&one_line(why)),
            (None, true) => f.write_str("nothing was otherwise"),
            (None, false) => f.write_str(&changes.join("; ")),
        }
    }
}

impl fmt::Display for RefusalView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RefusalView { network, age, times, client, destination, name, record, cause } = self;
        write!(f, "{} ago", Span(*age))?;
        if *times > 1 {
            write!(f, ", {times} times")?;
        }
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let to = destination.map(|it| SocketAddr::new(it.ip().to_canonical(), it.port()));
        let what = match network.as_str() {
            "name" => " asked for",
            "udp" => " to (UDP)",
            _ => " to",
        };
        match (network.as_str(), name, to) {
            ("name", None, _) => write!(f, ": a question of {client}")?,
            (_, None, None) => write!(f, ": a connection of {client}")?,
            (_, Some(name), None) => write!(f, ": {client}{what} {name}")?,
            (_, None, Some(to)) => write!(f, ": {client}{what} {to}")?,
            (_, Some(name), Some(to)) => write!(f, ": {client}{what} {name} ({to})")?,
        }
        if let Some(record) = record {
            write!(f, " {record}")?;
        }
        write!(f, ": {}", one_line(cause))
    }
}

/// Several mistakes of a file stand below each other elsewhere.
fn one_line(text: &str) -> String {
    text.trim().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(network: &str, name: Option<&str>, to: Option<&str>, times: u64) -> RefusalView {
        RefusalView {
            network: network.into(),
            age: 8,
            times,
            client: "[::ffff:192.168.1.7]:40000".parse().unwrap(),
            destination: to.map(|to| to.parse().unwrap()),
            name: name.map(str::to_owned),
            record: (network == "name").then(|| "AAAA".into()),
            cause: "blocked by rule".into(),
        }
    }

    #[test]
    fn refusals_for_people() {
        let (name, to) = (Some("example.com"), Some("203.0.113.9:443"));
        let who = "192.168.1.7:40000";
        for (refusal, said) in [
            (
                refusal("tcp", name, to, 3),
                format!(", 3 times: {who} to example.com ({})", "203.0.113.9:443"),
            ),
            (refusal("udp", None, to, 1), format!(": {who} to (UDP) 203.0.113.9:443")),
            (refusal("name", name, None, 1), format!(": {who} asked for example.com AAAA")),
            (refusal("tcp", None, None, 1), format!(": a connection of {who}")),
        ] {
            assert_eq!(refusal.to_string(), format!("8 s ago{said}: blocked by rule"));
        }
    }

    #[test]
    fn the_latest_are_shown_and_all_are_counted() {
        let status = StatusView {
            refusals: (1..=5).map(|times| refusal("tcp", None, None, times)).collect(),
            ..StatusView::default()
        };
        let text = status.to_string();
        assert!(text.contains("\nrefused lately: 5; the latest\n"), "{text}");
        assert_eq!(text.matches("a connection of").count(), 3, "{text}");
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<StatusView>(&json).unwrap(), status);
    }

    #[test]
    fn what_a_reload_did() {
        let mut reload = ReloadView { age: 90, by: "snet reload".into(), ..ReloadView::default() };
        let begin = "reload 1 min 30 s ago by snet reload: ";
        assert_eq!(reload.to_string(), format!("{begin}nothing was otherwise"));
        reload.changes = vec!["proxy added: two".into(), "scope = \"global\" (was ..)".into()];
        assert_eq!(
            reload.to_string(),
            format!("{begin}proxy added: two; scope = \"global\" (was ..)")
        );
        reload.refused = Some("refused: a.toml:1: mode\na.toml:2: scope".into());
        assert_eq!(reload.to_string(), format!("{begin}refused: a.toml:1: mode; a.toml:2: scope"));
    }

    #[test]
    fn the_age_of_lists() {
        let list = |kind: &str, says: &str, age, read, next| ListView {
            kind: kind.into(),
            says: says.into(),
            age,
            read,
            next,
        };
        for (list, said) in [
            (
                list("list", "/a: 5 lines used", Some(3 * 86400), Some(60), None),
                "list /a: 5 lines used; 3 d old; read 1 min ago",
            ),
            (
                list("subscription", "b: 2 servers, 2 h old", Some(7200), None, Some(3600)),
                "subscription b: 2 servers, 2 h old; fetched again in 1 h",
            ),
            (
                list("subscription", "b: none", None, None, Some(0)),
                "subscription b: none; to be fetched now",
            ),
        ] {
            assert_eq!(list.to_string(), said);
        }
        let status = StatusView {
            lists: vec!["/a: 5 lines used".into(), "/b: 1 line used".into()],
            sources: vec![list("list", "/a: 5 lines used", None, None, None)],
            ..StatusView::default()
        };
        assert!(status.to_string().ends_with("list /a: 5 lines used\nlist /b: 1 line used\n"));
    }

    #[test]
    fn whether_names_are_clean() {
        let mut trust = TrustView { weighed: 9, ..TrustView::default() };
        assert_eq!(trust.to_string(), "domestic answers: 9 weighed, none surely forged");
        trust.foreign = 4;
        trust.forged = 2;
        trust.forging = vec!["198.51.100.66".parse().unwrap()];
        assert_eq!(
            trust.to_string(),
            "domestic answers: 9 weighed, 4 foreign or forged, so the trusted side decided, 2 \
             surely forged and not believed; given for names that do not exist: 198.51.100.66"
        );
        assert!(!StatusView::default().to_string().contains("weighed"), "nothing was asked");
    }

    #[test]
    fn an_older_daemon_says_less() {
        let json = serde_json::to_value(StatusView::default()).unwrap();
        let serde_json::Value::Object(mut fields) = json else { panic!() };
        for new in ["trust", "sources", "reloads", "refusals"] {
            assert!(fields.remove(new).is_some(), "{new}");
        }
        let status = serde_json::from_value::<StatusView>(fields.into());
        assert_eq!(status.unwrap(), StatusView::default());
    }
}
