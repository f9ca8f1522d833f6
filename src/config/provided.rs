//! What a subscription gives: the proxies of a body, each as a `[[proxy]]` with the link of the
//! same meaning would be, and in words what became of the others.

use super::ListenConfig;
use super::link::{self, LinkedProxy};
use super::proxy::{CONNECT_TIMEOUT, ProxyConfig, is_own};
use crate::dispatch::SendNames;
use crate::net::dial::DialOptions;
use crate::plugin::spec::PluginSpec;
use crate::share_link::LinkProblem;
use crate::subscription::format::{BodyFormat, PassedOver, ProvidedProxy, SubscriptionBody};
use crate::subscription::kept::{self, KeptBody};
use crate::subscription::names::NameFilter;
use crate::subscription::usage::{Usage, age};
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

/// More proxies of one subscription are not used: each is a name to resolve, and an exemption from
/// the rules.
const MOST_SERVERS: usize = 256;

/// So many unfit entries are shown.
const MOST_SHOWN: usize = 3;

/// The proxies of a subscription, and what is told of it.
#[derive(Debug, Clone, Default)]
pub struct Provided {
    /// In the order of the body.
    pub proxies: Vec<ProxyConfig>,
    /// `None`: no body is known.
    known: Option<KnownBody>,
}

#[derive(Debug, Clone)]
struct KnownBody {
    format: BodyFormat,
    /// Seconds since the Unix epoch; 0: it is a file of the operator's.
    fetched: u64,
    usage: Usage,
    /// What became of the other entries, in words; empty, or begins with "; ".
    others: String,
}

/// How a body is read.
#[derive(Clone, Copy)]
pub(super) struct BodyReading<'a> {
    /// Of the subscription.
    pub(super) name: &'a str,
    pub(super) names: &'a NameFilter,
    /// Whether it may name a plugin.
    pub(super) plugins: bool,
    /// Whether connections to its servers are dialled ahead of need.
    pub(super) warm: bool,
    /// Where no server may be.
    pub(super) listen: &'a ListenConfig,
    /// The names of the operator's proxies.
    pub(super) own: &'a HashSet<String>,
}

impl Provided {
    /// When the provider last said that this is its body, in seconds since the Unix epoch.
    pub fn fetched(&self) -> Option<u64> {
        self.known.as_ref().map(|known| known.fetched).filter(|fetched| *fetched > 0)
    }

    /// What the provider told of the contract.
    pub fn usage(&self) -> Usage {
        self.known.as_ref().map_or_else(Usage::default, |known| known.usage)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// What it is instead, or why none of its servers can be used. Never a secret.
    pub(super) fn of(kept: &KeptBody, reading: BodyReading<'_>) -> Result<Self, String> {
        if cfg!(not(feature = "import")) {
            return Err("a subscription, and this build of snet takes none".into());
        }
        let BodyReading { name: subscription, names: filter, plugins, warm, listen, own } = reading;
        let body = SubscriptionBody::read(&kept.body).map_err(|error| error.to_string())?;
        let mut passed_over = body.passed_over;
        let (mut names, mut proxies) = (own.clone(), Vec::new());
        let mut excluded = 0;
        for ProvidedProxy { link, udp } in body.proxies {
            let linked = match link::checked(link) {
                Ok(linked) if is_own(&linked.server, listen) => Err((
                    linked.label,
                    LinkProblem {
                        found: "snet itself".into(),
                        accepted: "a server elsewhere".into(),
                    },
                )),
                Ok(linked) => match linked.kind.plugin().map(|plugin| allowed(plugin, plugins)) {
                    Some(Err(problem)) => Err((linked.label, problem)),
                    _ => Ok(linked),
                },
                unfit => unfit,
            };
            let LinkedProxy { label, server, kind } = match linked {
                Ok(linked) => linked,
                Err(unfit) => {
                    passed_over.unfit_count += 1;
                    passed_over.unfit.push(unfit);
                    continue;
                }
            };
            if !filter.takes(&label) {
                excluded += 1;
                continue;
            }
            if proxies.len() == MOST_SERVERS {
                passed_over.beyond += 1;
                continue;
            }
            proxies.push(ProxyConfig {
                name: unique(&format!("{subscription}/{label}"), &mut names),
                host: server.host,
                port: server.port,
                connect_timeout: CONNECT_TIMEOUT,
                // Never past a plugin: that is the operator's own choice.
                udp: kind.udp_by_default() && udp.unwrap_or(true),
                send_names: SendNames::default(),
                dial_options: DialOptions::default(),
                warm,
                kind,
            });
        }
        let others = others(&passed_over, excluded);
        if proxies.is_empty() {
            return Err(format!("{} without a server that snet can use{others}", body.format));
        }
        let mut usage = kept.usage;
        usage.used = usage.used.or(body.traffic.used);
        let remaining = body.traffic.remaining;
        let total = remaining.map(|remaining| remaining.saturating_add(usage.used.unwrap_or(0)));
        usage.total = usage.total.or(total);
        let known = KnownBody { format: body.format, fetched: kept.fetched, usage, others };
        Ok(Provided { proxies, known: Some(known) })
    }

    /// Whether no body is known.
    pub fn is_unknown(&self) -> bool {
        self.known.is_none()
    }
}

/// A plugin is a program that runs here: the operator says whether a remote party may choose one,
/// and then it is one of few.
fn allowed(plugin: &PluginSpec, plugins: bool) -> Result<(), LinkProblem> {
    if !plugins {
        let found = format!("the plugin {:?}, without plugins = true", plugin.program());
        let accepted = "plugins = true in the [[subscription]]".into();
        return Err(LinkProblem { found, accepted });
    }
    plugin.check_provided().map_err(|(found, accepted)| LinkProblem { found, accepted })
}

/// Providers give several servers the same name.
pub(super) fn unique(name: &str, names: &mut HashSet<String>) -> String {
    let numbered = |number: usize| match number {
        1 => name.to_owned(),
        number => format!("{name} #{number}"),
    };
    let free = (1..).map(numbered).find(|name| names.insert(name.clone()));
    free.unwrap_or_else(|| name.to_owned())
}

fn others(passed_over: &PassedOver, excluded: usize) -> String {
    let PassedOver { protocols, others: _, unfit, unfit_count, information, beyond } = passed_over;
    let mut text = String::new();
    let mut add = |part: String| {
        text.push_str("; ");
        text.push_str(&part);
    };
    if !protocols.is_empty() {
        let counts = protocols.iter().map(|(name, count)| format!("{count} {name}"));
        add(format!("passed over: {}", counts.collect::<Vec<_>>().join(", ")));
    }
    if *unfit_count > 0 {
        let shown = unfit.iter().take(MOST_SHOWN);
        let mut shown: Vec<String> =
            shown.map(|(name, problem)| format!("{name:?} ({})", problem.found)).collect();
        if *unfit_count > shown.len() {
            shown.push("...".into());
        }
        add(format!("{unfit_count} unfit: {}", shown.join(", ")));
    }
    if excluded > 0 {
        add(format!("{excluded} excluded"));
    }
    if *beyond > 0 {
        add(format!("{beyond} more than the {MOST_SERVERS} that are used"));
    }
    if !information.is_empty() {
        let shown = information.iter().take(MOST_SHOWN).map(|text| format!("{text:?}"));
        add(format!("it says {}", shown.collect::<Vec<_>>().join(", ")));
    }
    text
}

/// "12 servers of a list of links, 2 h old; passed over: 31 vmess; 7.0 GiB of 10.0 GiB left".
impl fmt::Display for Provided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(KnownBody { format, fetched, usage, others }) = &self.known else {
            return f.write_str("no server is known yet");
        };
        let count = self.proxies.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} server{plural} of {format}")?;
        if *fetched > 0 {
            match kept::age(*fetched) {
                now if now < Duration::from_secs(60) => write!(f, ", of now")?,
                old => write!(f, ", {} old", age(old))?,
            }
        }
        f.write_str(others)?;
        let usage = usage.to_string();
        if usage.is_empty() { Ok(()) } else { write!(f, "; {usage}") }
    }
}
