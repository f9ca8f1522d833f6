//! What `snet explain` shows: why a name or an address goes where it goes.

use super::{DeviceView, FlowView, ProxyView, RefusalView, Span};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// One name, or one address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainView {
    /// As it was asked.
    pub asked: String,
    /// What is known of the name; none where an address was asked.
    pub name: Option<NameView>,
    /// The addresses, each with its way.
    pub addresses: Vec<AddressView>,
    /// The proxies that carry the addresses now.
    #[serde(default)]
    pub proxies: Vec<ProxyView>,
    /// What it is as a device: one whose connections snet serves, or might serve.
    #[serde(default)]
    pub device: Option<DeviceView>,
    /// What is open to it, the oldest first.
    #[serde(default)]
    pub open: Vec<FlowView>,
    /// What was refused lately on the way to it, or to it as a device; the latest first.
    #[serde(default)]
    pub refusals: Vec<RefusalView>,
    /// What would be otherwise if the file on disk were in force; empty: nothing.
    pub changes: Vec<String>,
    /// What is not said here, and why.
    pub notes: Vec<String>,
}

/// A name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NameView {
    /// It.
    pub name: String,
    /// What speaks of it: keys of the configuration, with the suffix that is written there.
    pub matches: Vec<String>,
    /// `direct`, `proxy` or `block`, where a rule or a list decides; otherwise the answers do.
    pub route: Option<String>,
    /// The group of proxies, where a rule names one.
    pub group: Option<String>,
    /// Its addresses by type. Empty if no daemon was asked.
    pub records: Vec<RecordView>,
}

/// What is known of one type of a name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordView {
    /// `A` or `AAAA`.
    pub kind: String,
    /// Who answers such a question, in words.
    pub asks: String,
    /// What was in the cache.
    pub cached: Option<CachedView>,
    /// What each server says now.
    pub replies: Vec<ReplyView>,
    /// What a program gets.
    pub answer: Vec<IpAddr>,
    /// What a program gets instead, where it gets no address.
    pub instead: Option<String>,
    /// `domestic` or `foreign`, where the name was judged.
    pub verdict: Option<String>,
}

/// An answer in the cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CachedView {
    /// `domestic` or `trusted`: whose answer it is.
    pub side: String,
    /// It holds for so many seconds.
    pub left: u64,
}

/// What one server, or one side, said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplyView {
    /// `domestic`, `trusted` or `local`.
    pub side: String,
    /// The server, where one was asked by itself.
    pub server: Option<SocketAddr>,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// What the reply is, in words.
    pub says: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressView {
    /// It.
    pub address: IpAddr,
    /// `direct`, `proxy` or `block`.
    pub route: String,
    /// What decided, in words.
    pub reason: String,
    /// All rules and lists that hold it, the strongest first.
    pub matches: Vec<String>,
    /// The group that carries it, where there are groups and a proxy carries it.
    pub group: Option<String>,
    /// The proxy that would carry it now.
    pub proxy: Option<String>,
    /// What the kernel's own sets say; none where it was not asked.
    pub kernel: Option<KernelView>,
}

/// Where the kernel sends a TCP connection of a program, before snet sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelView {
    /// Its sets that hold the address now, the strongest first.
    pub sets: Vec<String>,
    /// `direct`, `proxy` (it is captured) or `block`.
    pub route: String,
    /// What decided, in words.
    pub reason: String,
    /// Whether the rules act now.
    pub acts: bool,
    /// While they do not act, foreign connections are refused, not direct.
    pub is_closed: bool,
    /// Whether the daemon's rules say the same.
    pub agrees: bool,
}

impl fmt::Display for ExplainView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}")?;
        }
        for address in &self.addresses {
            writeln!(f, "{address}")?;
        }
        self.write_traffic(f)?;
        for change in &self.changes {
            writeln!(f, "after a reload: {change}")?;
        }
        for note in &self.notes {
            writeln!(f, "({note})")?;
        }
        Ok(())
    }
}

impl fmt::Display for NameView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NameView { name, matches, route, group, records } = self;
        match matches.is_empty() {
            true => writeln!(f, "{name}: no rule and no list has it")?,
            false => writeln!(f, "{name}: {}", matches.join("; "))?,
        }
        match route.as_deref() {
            Some("block") => writeln!(f, "  its connections: none, since it is blocked")?,
            Some("direct") => writeln!(f, "  its connections: direct")?,
            Some(_) => {
                let group = group.as_ref().map(|group| format!(" of group {group}"));
                writeln!(f, "  its connections: through a proxy{}", group.unwrap_or_default())?;
            }
            None => writeln!(f, "  its connections: as each address says")?,
        }
        records.iter().try_for_each(|record| write!(f, "{record}"))
    }
}

impl fmt::Display for RecordView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordView { kind, asks, cached, replies, answer, instead, verdict } = self;
        writeln!(f, "{kind}: {asks}")?;
        if let Some(CachedView { side, left }) = cached {
            writeln!(f, "  cached: an answer of the {side} side, for {} more", Span(*left))?;
        }
        for reply in replies {
            writeln!(f, "  {reply}")?;
        }
        write!(f, "  programs get: ")?;
        match (answer.is_empty(), instead) {
            (false, _) => write!(f, "{}", listed(answer))?,
            (true, Some(instead)) => write!(f, "{instead}")?,
            (true, None) => write!(f, "no such record")?,
        }
        match verdict {
            Some(verdict) => writeln!(f, " (the name is judged {verdict})"),
            None => writeln!(f),
        }
    }
}

impl fmt::Display for ReplyView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReplyView { side, server, ms, says, addresses } = self;
        write!(f, "{side}")?;
        if let Some(server) = server {
            write!(f, " {server}")?;
        }
        write!(f, ": {says}")?;
        if !addresses.is_empty() {
            write!(f, ": {}", listed(addresses))?;
        }
        write!(f, " ({ms} ms)")
    }
}

impl fmt::Display for AddressView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AddressView { address, kernel, .. } = self;
        write!(f, "{address}: ")?;
        match kernel {
            // It does so before snet sees anything.
            Some(kernel) if kernel.overrules() => {
                write!(f, "{kernel}\n  snet would send it otherwise: ")?;
                self.write_way(f)
            }
            Some(kernel) => {
                self.write_way(f)?;
                write!(f, "\n  {kernel}")
            }
            None => self.write_way(f),
        }
    }
}

impl AddressView {
    /// The way that snet takes with it.
    fn write_way(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AddressView { address: _, route, reason, matches, group, proxy, kernel: _ } = self;
        match (route.as_str(), group, proxy) {
            ("block", _, _) => write!(f, "refused")?,
            ("direct", _, _) => write!(f, "direct")?,
            (_, Some(group), Some(proxy)) => write!(f, "through {proxy} (group {group})")?,
            (_, None, Some(proxy)) => write!(f, "through {proxy}")?,
            (_, Some(group), None) => write!(f, "through a proxy of group {group}")?,
            (_, None, None) => write!(f, "through a proxy")?,
        }
        write!(f, ", since {reason}")?;
        // One may be the reason already.
        let others: Vec<_> =
            matches.iter().map(String::as_str).filter(|it| !reason.contains(it)).collect();
        match (others.is_empty(), others.len() < matches.len()) {
            (true, _) => Ok(()),
            (false, true) => write!(f, " (also in: {})", others.join(", ")),
            (false, false) => write!(f, " (it is in: {})", others.join(", ")),
        }
    }
}

impl KernelView {
    /// It decides by itself, and otherwise than snet would.
    fn overrules(&self) -> bool {
        self.acts && !self.agrees && self.route != "proxy"
    }
}

impl fmt::Display for KernelView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KernelView { sets, route, reason, acts, is_closed, agrees } = self;
        let does = match route.as_str() {
            "block" => "refuses it",
            "direct" => "lets it go directly",
            _ => "captures it",
        };
        let but = if *agrees || self.overrules() { "" } else { "BUT " };
        write!(f, "{but}the kernel {does}, since {reason}")?;
        // The first one is the reason already.
        if let [_, others @ ..] = sets.as_slice()
            && !others.is_empty()
        {
            write!(f, " (also: {})", others.join(", "))?;
        }
        match (acts, is_closed) {
            (true, _) => Ok(()),
            (false, false) => write!(f, "; its rules do not act now: all goes directly"),
            (false, true) => write!(f, "; it captures nothing now: what is foreign is refused"),
        }
    }
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once() {
        let way = |reason: &str, matches: &[&str]| AddressView {
            address: "192.0.2.1".parse().unwrap(),
            route: "direct".into(),
            reason: reason.into(),
            matches: matches.iter().map(|it| (*it).to_owned()).collect(),
            group: None,
            proxy: None,
            kernel: None,
        };
        let listed = "it is on the domestic list";
        for (view, said) in [
            (way(listed, &["the domestic list"]), ""),
            (
                way("rules.direct has it", &["rules.direct", "the domestic list"]),
                " (also in: the \
             domestic list)",
            ),
            (way("a name led there", &["the domestic list"]), " (it is in: the domestic list)"),
        ] {
            assert_eq!(view.to_string(), format!("192.0.2.1: direct, since {}{said}", view.reason));
        }
    }

    #[test]
    fn a_name_that_is_blocked_is_said_to_be() {
        let name = NameView { route: Some("block".into()), ..NameView::default() };
        assert!(name.to_string().contains("its connections: none, since it is blocked\n"));
    }

    #[test]
    fn an_explanation_for_people() {
        let reply = |side: &str, server: Option<&str>, says: &str, address: &str| ReplyView {
            side: side.into(),
            server: server.map(|server| server.parse().unwrap()),
            ms: 7,
            says: says.into(),
            addresses: vec![address.parse().unwrap()],
        };
        let record = RecordView {
            kind: "A".into(),
            asks: "both sides are asked, and the domestic reply decides".into(),
            cached: Some(CachedView { side: "trusted".into(), left: 61 }),
            replies: vec![
                reply("domestic", Some("192.0.2.53:53"), "forged or foreign", "198.51.100.6"),
                reply("trusted", None, "addresses", "203.0.113.10"),
            ],
            answer: vec!["203.0.113.10".parse().unwrap()],
            instead: None,
            verdict: Some("foreign".into()),
        };
        let name = NameView {
            name: "www.example.com".into(),
            records: vec![record],
            ..NameView::default()
        };
        let address = AddressView {
            address: "203.0.113.10".parse().unwrap(),
            route: "proxy".into(),
            reason: "nothing says that it is domestic".into(),
            matches: Vec::new(),
            group: Some("video".into()),
            proxy: Some("tokyo".into()),
            kernel: Some(KernelView {
                sets: vec!["learned-direct".into(), "china".into()],
                route: "direct".into(),
                reason: "its set learned-direct has it".into(),
                acts: true,
                is_closed: false,
                agrees: false,
            }),
        };
        let view = ExplainView {
            asked: "www.example.com".into(),
            name: Some(name),
            addresses: vec![address],
            changes: vec!["203.0.113.10: direct, since a rule says so".into()],
            notes: vec!["sets of the kernel were not looked at".into()],
            ..ExplainView::default()
        };
        assert_eq!(
            view.to_string(),
            "www.example.com: no rule and no list has it\n\
             \u{20} its connections: as each address says\n\
             A: both sides are asked, and the domestic reply decides\n\
             \u{20} cached: an answer of the trusted side, for 1 min 1 s more\n\
             \u{20} domestic 192.0.2.53:53: forged or foreign: 198.51.100.6 (7 ms)\n\
             \u{20} trusted: addresses: 203.0.113.10 (7 ms)\n\
             \u{20} programs get: 203.0.113.10 (the name is judged foreign)\n\
             203.0.113.10: the kernel lets it go directly, since its set learned-direct has it \
             (also: china)\n\
             \u{20} snet would send it otherwise: through tokyo (group video), since nothing says \
             that it is domestic\n\
             after a reload: 203.0.113.10: direct, since a rule says so\n\
             (sets of the kernel were not looked at)\n"
        );
        let json = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<ExplainView>(&json).unwrap(), view);
    }
}
