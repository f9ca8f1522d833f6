//! From the text of the file to a [`Config`]: section by section, then the report.

use super::section::Section;
use super::source::{Source, is_same};
use super::{
    Config, Dns, Error, Firewall, Listen, Loaded, LogLevel, Mode, Purpose, Rules, Scope, file,
    proxy,
};
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// The default of `control.socket`.
pub const CONTROL_SOCKET: &str = "/run/snet/control.sock";

/// After so many slips of TOML the rest is their consequence.
const MOST_SYNTAX_ERRORS: usize = 5;

/// Reads a file and what it names.
pub(super) fn load(path: &Path, purpose: Purpose) -> Result<Loaded, Error> {
    let one = |problem: String| Error { problems: vec![problem] };
    let content = file::config(path)
        .map_err(|error| one(format!("{}: cannot read the file: {error}", path.display())))?;
    let text = std::str::from_utf8(&content.bytes).map_err(|error| {
        let before = &content.bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        one(format!(
            "{}:{line}: found a byte that is not UTF-8; accepted: TOML, which is UTF-8 text",
            path.display()
        ))
    })?;
    let (mut loaded, holds_password) = parse(path, text, purpose)?;
    if holds_password {
        loaded.warnings.extend(content.exposure(path));
    }
    Ok(loaded)
}

/// Reads a text; the second value says whether a password stands in it.
pub(super) fn parse(path: &Path, text: &str, purpose: Purpose) -> Result<(Loaded, bool), Error> {
    let source = Source::new(path, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
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
    let config = config(&Section::top(&source, table.get_ref()), purpose);
    let holds_password = source.holds_password();
    Ok((source.conclude(config)?, holds_password))
}

fn config(top: &Section<'_>, purpose: Purpose) -> Config {
    let mode = top.or("mode", Mode::Local, |item| {
        item.choice(&[("local", Mode::Local), ("router", Mode::Router)])
    });
    let scope = top.or("scope", Scope::BypassChina, |item| {
        item.choice(&[("bypass-china", Scope::BypassChina), ("global", Scope::Global)])
    });
    let listen = Listen::read(&top.section("listen"), mode);
    let control = top.section("control");
    let dns = Dns::read(&top.section("dns"), &listen);
    let config = Config {
        mode,
        scope,
        proxies: proxy::read(top, purpose, dns.servers.trusted_via, &listen),
        listen,
        dns,
        rules: Rules::read(&top.section("rules"), mode, scope),
        firewall: Firewall::read(&top.section("firewall"), mode),
        log_level: log_level(&top.section("log")),
        control_socket: control_socket(&control),
    };
    nothing_is_overwritten(&config, &control);
    config
}

/// A file that is read, or that keeps answers, has no socket in its place. (The file of answers is looked
/// at itself: it may only be one that snet has written.)
fn nothing_is_overwritten(config: &Config, control: &Section<'_>) {
    let (path, cache) = (config.control_socket.as_path(), &config.dns.cache.file);
    let is_cache = || cache.as_ref().is_some_and(|cache| is_same(path, cache));
    let role = |source: &Source<'_>| {
        source.role(path).or_else(|| is_cache().then(|| "the file of dns.cache-file".into()))
    };
    if let Some(item) = control.item("socket")
        && let Some(role) = role(item.source)
    {
        item.refuse_as::<()>(format!("{} ({role})", path.display()), "a path for nothing else");
    }
}

fn log_level(section: &Section<'_>) -> LogLevel {
    section.or("level", LogLevel::Info, |item| {
        item.choice(&[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ])
    })
}

fn control_socket(section: &Section<'_>) -> PathBuf {
    section.or("socket", CONTROL_SOCKET.into(), |item| {
        item.parse(|text| {
            // unix(7): struct sockaddr_un holds no longer one.
            if text.starts_with('/') && !text.contains('\0') && text.len() < 108 {
                Ok(PathBuf::from(text))
            } else {
                Err(format!("an absolute path, for example \"{CONTROL_SOCKET}\""))
            }
        })
    })
}

/// The text itself is shown only where it can be no password.
fn syntax(source: &Source<'_>, at: usize, message: &str) {
    let rest = source.text().get(at..).unwrap_or_default();
    let found = match rest.chars().next() {
        None => "the end of the file".into(),
        Some('\n' | '\r') => "the end of the line".into(),
        Some(_) if source.line_text(at).contains("password") => "something else".into(),
        Some(c) => format!("{c:?}"),
    };
    let column = source.column(at);
    let message = message.trim().replace('\n', ", ");
    source.problem_line(at, format!("column {column}: found {found}; {message}"));
}
