//! From the text of the file to a [`Config`]: section by section, then the report.

use super::foreign::ForeignFile;
use super::group::Groups;
use super::keys::Keys;
use super::rules::GroupNames;
use super::section::Section;
use super::shown::ShownSettings;
use super::source::{BYTE_ORDER_MARK, SourceFile};
use super::{
    Config, DnsConfig, Error, FirewallConfig, ListenConfig, Loaded, Mode, Purpose, RulesConfig,
    Scope, SubscriptionConfig, control, file, household, log, placeholder, proxy, subscription,
};
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use toml::de::DeTable;
use zeroize::Zeroizing;

/// After so many slips of TOML the rest is their consequence.
const MOST_SYNTAX_ERRORS: usize = 5;

/// Reads a file and what it names.
pub(super) fn load(path: &Path, purpose: Purpose) -> Result<Loaded, Error> {
    let shown = path.display();
    let content = file::config(path).map_err(|error| {
        let problem = format!("{shown}: cannot read the file: {error}");
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Error::forbidden(format!("{problem}; run this as root, or as its owner"))
            }
            _ => Error::whole(problem),
        }
    })?;
    let text = std::str::from_utf8(&content.bytes).map_err(|error| {
        if content.bytes.starts_with(b"\xff\xfe") || content.bytes.starts_with(b"\xfe\xff") {
            return Error::whole(format!(
                "{shown}:1: found UTF-16, which some editors call \"Unicode\"; accepted: TOML, \
                 which is UTF-8 text"
            ));
        }
        let before = &content.bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::whole(format!(
            "{shown}:{line}: found a byte that is not UTF-8; accepted: TOML, which is UTF-8 text"
        ))
    })?;
    let (mut loaded, holds_password) = parse(path, text, purpose)?;
    let placeholders = placeholder::problems(&loaded.config, path, text, keys());
    if !placeholders.is_empty() {
        return Err(Error::new(placeholders));
    }
    if holds_password {
        loaded.warnings.extend(content.exposure(path));
    }
    if text.starts_with(BYTE_ORDER_MARK) {
        loaded.warnings.push(format!(
            "{shown}: it begins with a byte order mark, which some editors write; snet passes it \
             over"
        ));
    }
    Ok(loaded)
}

/// Reads a text; the second value says whether a password stands in it.
pub(super) fn parse(path: &Path, text: &str, purpose: Purpose) -> Result<(Loaded, bool), Error> {
    let source = SourceFile::new(path, text, keys());
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        if let Some(other) = ForeignFile::of(text) {
            let shown = path.display().to_string();
            let accepted = other.remedy(&shown);
            let problem = format!("{shown}:1: found {other}; accepted: {accepted}");
            return Err(Error::whole(problem));
        }
        let begin = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let mut errors: Vec<_> = errors.iter().map(|error| (begin(error), error)).collect();
        errors.sort_by_key(|(at, _)| *at);
        // What follows on the same line is a consequence too.
        errors.dedup_by_key(|(at, _)| source.line(*at));
        for (at, error) in errors.into_iter().take(MOST_SYNTAX_ERRORS) {
            syntax(&source, at, error.message());
        }
        return Err(source.conclude_broken());
    }
    let mut config = config(&Section::top(&source, table.get_ref()), purpose);
    if !config.rules.watched.is_empty() {
        config.text = Some(ConfigText::new(path, text));
    }
    let holds_password = source.holds_password();
    let odd = config.odd_groups();
    let mut loaded = source.conclude(config)?;
    loaded.warnings.extend(odd);
    Ok((loaded, holds_password))
}

/// The text that a configuration was read from, so that its lists can be read again.
#[derive(Clone)]
pub(super) struct ConfigText {
    path: PathBuf,
    /// It may hold passwords.
    text: Arc<Zeroizing<String>>,
}

impl ConfigText {
    fn new(path: &Path, text: &str) -> Self {
        let text = Arc::new(Zeroizing::new(text.to_owned()));
        ConfigText { path: path.to_owned(), text }
    }

    /// Its rules, with what the files of the lists have now.
    pub(super) fn rules(&self, mode: Mode, scope: Scope) -> Result<RulesConfig, Error> {
        let source = SourceFile::new(&self.path, &self.text, keys());
        // It was read before without an error.
        let (table, _) = DeTable::parse_recoverable(&self.text);
        let top = Section::top(&source, table.get_ref());
        let mut groups = Groups::read(&top);
        let mut names = GroupNames { groups: &mut groups, is_proxy: &|_| true };
        let rules = RulesConfig::read(&top.section("rules"), mode, scope, &mut names);
        source.unless_wrong(rules)
    }
}

impl fmt::Debug for ConfigText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigText({})", self.path.display())
    }
}

/// The keys of the file: those that are asked for when a file is read that says nothing, with one
/// `[[proxy]]`, one `[[subscription]]` and one `[[group]]`. A key therefore has to be asked for
/// whatever the others say ([`Section::item`]).
pub(super) fn keys() -> &'static Keys {
    static KEYS: LazyLock<Keys> = LazyLock::new(|| {
        let (none, text) = (Keys::default(), "[[proxy]]\n[[subscription]]\n[[group]]");
        let source = SourceFile::new(Path::new(""), text, &none);
        let (table, _) = DeTable::parse_recoverable(text);
        config(&Section::top(&source, table.get_ref()), Purpose::Daemon);
        source.into_asked()
    });
    &KEYS
}

fn config(top: &Section<'_>, purpose: Purpose) -> Config {
    let (mut mode, mut scope) = (Mode::Local, Scope::BypassChina);
    top.key("mode", &mut mode, |item| {
        item.choice(&[("local", Mode::Local), ("router", Mode::Router)])
    });
    top.key("scope", &mut scope, |item| {
        item.choice(&[("bypass-china", Scope::BypassChina), ("global", Scope::Global)])
    });
    let listen = ListenConfig::read(&top.section("listen"), mode);
    let proxies = proxy::read(top, &listen);
    let own: HashSet<String> = proxies.iter().flatten().map(|proxy| proxy.name.clone()).collect();
    let subscriptions = subscription::read(top, &listen, &own);
    let mut groups = Groups::read(top);
    let household = household::read(&top.section("household"), &listen);
    let dns = DnsConfig::read(&top.section("dns"), &listen, &household);
    if proxies.is_none() && top.item("subscription").is_none() {
        proxy::demand(top, purpose, dns.servers.trusted_via);
    }
    let is_proxy = |name: &str| {
        let is_provided = |it: &SubscriptionConfig| {
            name.strip_prefix(it.name.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        own.contains(name) || subscriptions.iter().any(is_provided)
    };
    let mut names = GroupNames { groups: &mut groups, is_proxy: &is_proxy };
    let rules = RulesConfig::read(&top.section("rules"), mode, scope, &mut names);
    let firewall = FirewallConfig::read(&top.section("firewall"), mode);
    let log = log::read(&top.section("log"));
    let control = top.section("control");
    let control_socket = control::socket(&control);
    let control_http = control::http(&control);
    control::nothing_is_overwritten(&control, &control_socket, dns.cache.file.as_deref());
    let proxies = proxies.unwrap_or_default();
    let mut config = Config {
        mode,
        scope,
        listen,
        own_proxies: proxies.len(),
        proxies,
        groups: groups.into_inner(),
        subscriptions,
        household,
        dns,
        rules,
        firewall,
        log,
        control_socket,
        control_http,
        settings: ShownSettings::default(),
        text: None,
    };
    config.take_provided();
    config
}

/// Sections of which there may be several.
const TABLES: [&str; 3] = ["proxy", "subscription", "group"];

/// The text itself is shown only where it can be no password.
fn syntax(source: &SourceFile<'_>, at: usize, message: &str) {
    let rest = source.text().get(at..).unwrap_or_default();
    let found = match rest.chars().next() {
        None => "the end of the file".into(),
        Some('\n' | '\r') => "the end of the line".into(),
        Some(_) if source.line_text(at).contains("password") => "something else".into(),
        Some(c) => format!("{c:?}"),
    };
    let column = source.column(at);
    let line = source.line_text(at).trim();
    let name = line.trim_start_matches('[').trim_end_matches(']').trim();
    if message.contains("duplicate key") && TABLES.contains(&name) && line.starts_with('[') {
        let accepted = format!("[[{name}]] before each of them");
        let found = format!("[{name}], and [[{name}]] above");
        source.syntax_problem(at, format!("{name}: found {found}; accepted: {accepted}"));
        return;
    }
    let message = message.trim().replace('\n', ", ");
    source.syntax_problem(at, format!("column {column}: found {found}; {message}"));
}
