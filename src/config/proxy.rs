//! `[[proxy]]`: the upstream servers, in order of preference.

use super::address::{Server, server};
use super::file;
use super::item::{Item, show_text};
use super::section::Section;
use super::value::duration;
use super::{Listen, Proxy, ProxyKind, Purpose};
use crate::dns::settings::Via;
use crate::net::dial::Manner;
use crate::proxy::shadowsocks::cipher::Method;
use crate::secret::Secret;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(120);

const SERVER: &str = "host:port, for example \"ss.example.com:8388\"";

/// What routes are called in logs.
const RESERVED_NAMES: &[&str] = &["direct", "block"];

/// `[[proxy]] type`
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Shadowsocks,
    Http,
}

/// A `[[proxy]]` that may still want its default name.
struct Draft {
    name: Option<String>,
    /// The server as written.
    written: String,
    server: Server,
    connect_timeout: Duration,
    manner: Manner,
    kind: ProxyKind,
}

/// Reads all `[[proxy]]`. `via` and `listen` say whether one is needed, and where it must not be.
pub(super) fn read(top: &Section<'_>, purpose: Purpose, via: Via, listen: &Listen) -> Vec<Proxy> {
    let Some(tables) = top.tables("proxy") else { return Vec::new() };
    if tables.is_empty() {
        demand(top, purpose, via);
    }
    let mut names = HashSet::new();
    let drafts: Vec<Draft> =
        tables.iter().filter_map(|table| draft(table, &mut names, listen)).collect();
    drafts.into_iter().map(|draft| draft.finish(&mut names)).collect()
}

fn demand(top: &Section<'_>, purpose: Purpose, via: Via) {
    let accepted = match (purpose, via) {
        (Purpose::DnsOnly, Via::Direct) => return,
        (Purpose::DnsOnly, Via::Proxy) => {
            "at least one [[proxy]], or trusted-via = \"direct\" in [dns]"
        }
        (Purpose::Daemon, _) => {
            "at least one [[proxy]], for example type = \"http\" with \
             server = \"proxy.example.com:8080\""
        }
    };
    top.missing::<()>("proxy", accepted);
}

fn draft(section: &Section<'_>, names: &mut HashSet<String>, listen: &Listen) -> Option<Draft> {
    let name = section.item("name").and_then(|item| own_name(&item, names));
    let server = match section.item("server") {
        Some(item) => own_server(&item, listen),
        None => section.missing("server", SERVER),
    };
    let connect_timeout = section
        .or("connect-timeout", CONNECT_TIMEOUT, |item| item.parse(duration(CONNECT_TIMEOUTS)));
    let manner = Manner {
        fast_open: section.or("fast-open", false, |item| item.boolean()),
        multipath: section.or("multipath", false, |item| item.boolean()),
    };
    let kind = kind(section);
    let (written, server) = server?;
    Some(Draft { name, written, server, connect_timeout, manner, kind: kind? })
}

/// Reads the server; the text as written comes along.
fn own_server(item: &Item<'_>, listen: &Listen) -> Option<(String, Server)> {
    // ss://BASE64@host:port and http://user:password@host:port are in use elsewhere.
    if item.parse(|text| Ok(text.contains('@')))? {
        return item.refuse_as("a URL that may hold a password", SERVER);
    }
    let (written, server) = item.parse(|text| Ok((text.to_owned(), server(text)?)))?;
    let own = server.port == listen.tcp_port || server.port == listen.dns_port;
    match server.address() {
        Some(ip) if own && listen.is_own(ip) => {
            item.refuse("another address than the one snet itself listens on")
        }
        _ => Some((written, server)),
    }
}

fn own_name(item: &Item<'_>, names: &mut HashSet<String>) -> Option<String> {
    let name = item.parse(|text| {
        let usable =
            !text.trim().is_empty() && text.len() <= 64 && !text.contains(char::is_control);
        if usable { Ok(text.to_owned()) } else { Err("a name of 1 to 64 bytes".to_owned()) }
    })?;
    if RESERVED_NAMES.contains(&name.to_ascii_lowercase().as_str()) {
        return item.refuse("another name: \"direct\" and \"block\" are reserved");
    }
    if !names.insert(name.clone()) {
        return item.refuse("a name that no other [[proxy]] has");
    }
    Some(name)
}

impl Draft {
    fn finish(self, names: &mut HashSet<String>) -> Proxy {
        let name = self.name.unwrap_or_else(|| {
            let numbered = |number: usize| match number {
                1 => self.written.clone(),
                number => format!("{}#{number}", self.written),
            };
            let free = (1..).map(numbered).find(|name| names.insert(name.clone()));
            free.unwrap_or(self.written.clone())
        });
        Proxy {
            name,
            host: self.server.host,
            port: self.server.port,
            connect_timeout: self.connect_timeout,
            manner: self.manner,
            kind: self.kind,
        }
    }
}

fn kind(section: &Section<'_>) -> Option<ProxyKind> {
    let Some(item) = section.item("type") else {
        return section.missing("type", "\"shadowsocks\" or \"http\"");
    };
    match item.choice(&[("shadowsocks", Type::Shadowsocks), ("http", Type::Http)])? {
        Type::Shadowsocks => shadowsocks(section),
        Type::Http => http(section),
    }
}

fn shadowsocks(section: &Section<'_>) -> Option<ProxyKind> {
    let methods = Method::ALL.map(|method| (method.name(), method));
    let method = match section.item("method") {
        Some(item) => item.choice(&methods),
        None => {
            section.missing("method", &methods.map(|(name, _)| format!("\"{name}\"")).join(", "))
        }
    };
    if let Some(item) = section.item("username") {
        item.refuse::<()>("nothing: only type = \"http\" has a username");
    }
    let password = password(section).unwrap_or_else(|| {
        section.missing("password", "password or password-file: shadowsocks needs one")
    });
    Some(ProxyKind::Shadowsocks { method: method?, password: password? })
}

fn http(section: &Section<'_>) -> Option<ProxyKind> {
    if let Some(item) = section.item("method") {
        item.refuse::<()>("nothing: only type = \"shadowsocks\" has a method");
    }
    let username = section.item("username").map(|item| item.parse(username));
    let password = password(section);
    let credentials = match (username, password) {
        (None, None) => None,
        (Some(username), Some(password)) => {
            let (username, password) = (username?, password?);
            Some((username, password))
        }
        (Some(_), None) => {
            return section.missing("password", "username and password, or neither");
        }
        (None, Some(_)) => {
            return section.missing("username", "username and password, or neither");
        }
    };
    Some(ProxyKind::Http { credentials })
}

/// RFC 7617, 2: the first colon ends the user name, control characters are forbidden.
fn username(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(':') || text.contains(char::is_control) {
        return Err("a user name without colons and control characters".into());
    }
    Ok(text.to_owned())
}

/// The password from the file or from the file it names. `None`: neither key is there;
/// `Some(None)`: it was refused.
fn password(section: &Section<'_>) -> Option<Option<Secret>> {
    match (section.item("password"), section.item("password-file")) {
        (None, None) => None,
        (Some(item), None) => Some(written_password(section, &item)),
        (None, Some(item)) => Some(file::password(section.source(), &item)),
        (Some(item), Some(file)) => {
            section.source().password_seen();
            let line = item.line();
            let found = format_args!("a password-file beside the password of line {line}");
            Some(file.refuse_as(found, "one of the two"))
        }
    }
}

fn written_password(section: &Section<'_>, item: &Item<'_>) -> Option<Secret> {
    section.source().password_seen();
    match item.secret()? {
        "" => item.refuse_as(show_text(""), "a password that is not empty"),
        text => Some(Secret::new(text)),
    }
}
