//! `[[subscription]]`: servers that a provider hands out.
//!
//! What it gives is read from its file, or from the last body that was fetched
//! ([`crate::subscription::kept`]); nothing is fetched here. The proxies of all subscriptions stand
//! behind those of `[[proxy]]`, in the order of the file.

use super::ListenConfig;
use super::file;
use super::item::Item;
use super::provided::{BodyReading, Provided};
use super::proxy::warmth;
use super::quantity::duration;
use super::section::Section;
use crate::subscription::format::LONGEST_BODY;
use crate::subscription::kept::{self, KeptBody};
use crate::subscription::names::{NameFilter, NamePattern};
use crate::subscription::url::ProviderUrl;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the bodies are kept, unless `cache-file` says otherwise: the unit makes this folder.
pub const KEPT_FOLDER: &str = "/var/lib/snet";

/// Providers count requests, and lock out a customer who asks all the time.
const UPDATES: RangeInclusive<Duration> =
    Duration::from_secs(10 * 60)..=Duration::from_secs(365 * 86_400);

/// One `[[subscription]]`.
#[derive(Debug, Clone)]
pub struct SubscriptionConfig {
    /// Unique; its proxies are `NAME/...`.
    pub name: String,
    /// Where the body is.
    pub origin: BodyOrigin,
    /// How old a fetched body may become.
    pub update: Duration,
    /// How it is fetched.
    pub via: FetchVia,
    /// What the request says of the program that asks.
    pub user_agent: String,
    /// Whether its servers may have a plugin.
    pub plugins: bool,
    /// Whether connections to its servers are dialled ahead of need.
    pub warm: bool,
    /// `include`, `exclude`
    pub names: NameFilter,
    /// Where the last good body is kept; `None`: nowhere.
    pub kept_in: Option<PathBuf>,
    /// What it gives.
    pub provided: Provided,
}

/// Where the body of a subscription is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyOrigin {
    /// `url`
    Url(ProviderUrl),
    /// `file`
    File(PathBuf),
}

/// `via`: how a body is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchVia {
    /// Through a proxy that works, else directly.
    Auto,
    /// Through a proxy.
    Proxy,
    /// Directly.
    Direct,
}

impl SubscriptionConfig {
    /// Whether a server is still to be heard of.
    pub fn is_awaited(&self) -> bool {
        matches!(self.origin, BodyOrigin::Url(_)) && self.provided.is_unknown()
    }
}

/// Reads all `[[subscription]]`. `own`: the names of the proxies.
pub(super) fn read(
    top: &Section<'_>,
    listen: &ListenConfig,
    own: &HashSet<String>,
) -> Vec<SubscriptionConfig> {
    if cfg!(not(feature = "import")) {
        if let Some(item) = top.item("subscription") {
            item.refuse_as::<()>(
                "[[subscription]]",
                "[[proxy]]: this build of snet takes no other",
            );
        }
        return Vec::new();
    }
    let mut names = HashSet::new();
    let tables = top.tables("subscription").unwrap_or_default();
    let mut subscriptions: Vec<SubscriptionConfig> = Vec::new();
    for table in &tables {
        let Some(subscription) = one(table, &mut names, listen, own) else { continue };
        let place = subscription.kept_in.as_ref();
        let mut others = subscriptions.iter().filter(|other| other.kept_in.as_ref() == place);
        if let (Some(other), Some(item)) = (others.next(), table.item("cache-file"))
            && place.is_some()
        {
            // Each would start from the servers of the other.
            let found = format!("the file of the subscription {:?}", other.name);
            item.refuse_as::<()>(found, "a file of its own");
        }
        subscriptions.push(subscription);
    }
    subscriptions
}

fn one(
    section: &Section<'_>,
    names: &mut HashSet<String>,
    listen: &ListenConfig,
    own: &HashSet<String>,
) -> Option<SubscriptionConfig> {
    let name = match section.item("name") {
        Some(item) => name(&item, names),
        None => section.missing("name", NAME),
    };
    let origin = origin(section);
    let (mut update, mut via) = (Duration::from_secs(86_400), FetchVia::Auto);
    section.key("update", &mut update, |item| item.parse(duration(UPDATES)));
    section.key("via", &mut via, |item| {
        item.choice(&[
            ("auto", FetchVia::Auto),
            ("proxy", FetchVia::Proxy),
            ("direct", FetchVia::Direct),
        ])
    });
    let mut user_agent = concat!("snet/", env!("CARGO_PKG_VERSION")).to_owned();
    section.key("user-agent", &mut user_agent, user_agent_of);
    let mut plugins = false;
    section.key("plugins", &mut plugins, Item::boolean);
    let mut warm = true;
    section.key("warm", &mut warm, warmth);
    let mut filter = NameFilter::default();
    section.key("include", &mut filter.include, patterns);
    section.key("exclude", &mut filter.exclude, patterns);
    let usual =
        name.as_ref().map(|name| Path::new(KEPT_FOLDER).join(format!("{name}.subscription")));
    let mut kept_in = usual;
    section.key("cache-file", &mut kept_in, kept_file);
    let provided = Provided::default();
    let mut subscription = SubscriptionConfig {
        name: name?,
        origin: origin?,
        update,
        via,
        user_agent,
        plugins,
        warm,
        names: filter,
        kept_in,
        provided,
    };
    subscription.provided = provided_by(section, &subscription, listen, own)?;
    Some(subscription)
}

/// What stands in its file, or in the one where the last body is kept.
fn provided_by(
    section: &Section<'_>,
    subscription: &SubscriptionConfig,
    listen: &ListenConfig,
    own: &HashSet<String>,
) -> Option<Provided> {
    let SubscriptionConfig { name, names, plugins, warm, .. } = subscription;
    let (plugins, warm) = (*plugins, *warm);
    let reading = BodyReading { name, names, plugins, warm, listen, own };
    if let (BodyOrigin::File(_), Some(item)) = (&subscription.origin, section.item("file")) {
        let (path, content) = file::body(&item, LONGEST_BODY)?;
        if let Some(warning) = content.exposure(&path) {
            item.warn(warning);
        }
        let body = KeptBody::of_file(content.bytes);
        return match Provided::of(&body, reading) {
            Ok(provided) => Some(provided),
            Err(why) => item.refuse_as(
                format!("{} ({why})", path.display()),
                "SIP008, links (plain or in base64), a Clash or a sing-box file",
            ),
        };
    }
    let (Some(path), Some(item)) = (&subscription.kept_in, section.item("url")) else {
        return Some(Provided::default());
    };
    match KeptBody::read(path) {
        Ok(None) => Some(Provided::default()),
        Ok(Some(body)) => Some(Provided::of(&body, reading).unwrap_or_else(|why| {
            item.warn(format_args!("the body in {} is of no use: {why}", path.display()));
            Provided::default()
        })),
        Err(error) => {
            item.warn(format_args!("cannot read the last body, {}: {error}", path.display()));
            Some(Provided::default())
        }
    }
}

const NAME: &str = "a name of 1 to 64 bytes without \"/\", which no other [[subscription]] has";

fn name(item: &Item<'_>, names: &mut HashSet<String>) -> Option<String> {
    let name = item.parse(|text| {
        // It is a part of a file's name, and stands before a "/" in those of proxies.
        let is_fit = (1..=64).contains(&text.len())
            && !text.starts_with('.')
            && text.trim() == text
            && !text.contains(|c: char| c == '/' || c.is_control());
        if is_fit { Ok(text.to_owned()) } else { Err(NAME.into()) }
    })?;
    if names.insert(name.clone()) { Some(name) } else { item.refuse(NAME) }
}

fn origin(section: &Section<'_>) -> Option<BodyOrigin> {
    match (section.item("url"), section.item("file")) {
        (Some(url), None) => {
            url.source.password_seen();
            match ProviderUrl::parse(url.secret()?) {
                Ok(address) => {
                    if cfg!(not(feature = "tls")) {
                        return url.refuse("file: this build of snet fetches nothing");
                    }
                    if !address.is_https {
                        url.warn(
                            "without TLS everyone on the way reads the passwords of the servers, \
                             and can put other servers in their place",
                        );
                    }
                    Some(BodyOrigin::Url(address))
                }
                Err((found, accepted)) => url.refuse_as(found, accepted),
            }
        }
        (None, Some(file)) => {
            let path = file.parse(|text| match text.is_empty() || text.contains('\0') {
                true => Err("the name of a file".into()),
                false => Ok(text.to_owned()),
            })?;
            Some(BodyOrigin::File(file.source.beside(&path)))
        }
        (Some(url), Some(file)) => {
            url.source.password_seen();
            let found = format!("a file beside the url of line {}", url.line());
            file.refuse_as(found, "one of the two")
        }
        (None, None) => section.missing("url", "url or file"),
    }
}

fn patterns(item: &Item<'_>) -> Option<Vec<NamePattern>> {
    let patterns = item.list(|text| Ok(NamePattern::new(text)))?;
    Some(patterns.into_iter().map(|(_, pattern)| pattern).collect())
}

/// Some providers answer only programs that they know, or each in another format.
fn user_agent_of(item: &Item<'_>) -> Option<String> {
    item.parse(|text| {
        let is_fit = text.len() <= 256 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        match is_fit && text.trim() == text && !text.is_empty() {
            true => Ok(text.to_owned()),
            false => Err("at most 256 ASCII characters, for example \"clash\"".into()),
        }
    })
}

fn kept_file(item: &Item<'_>) -> Option<Option<PathBuf>> {
    let path = item.parse(|text| {
        let path = PathBuf::from(text);
        let is_fit = text.is_empty() || path.is_absolute() && !text.contains('\0');
        if is_fit { Ok(path) } else { Err("\"\" or an absolute path".into()) }
    })?;
    if path.as_os_str().is_empty() {
        return Some(None);
    }
    match kept::obstacle(&path) {
        Some(found) => item.refuse_as(
            found,
            "a file of snet's own, or none yet, in a folder that it may write, for example \
             \"/var/lib/snet/provider.subscription\"",
        ),
        None => Some(Some(path)),
    }
}
