//! `[[proxy]]`: the upstream servers, in order of preference.

use super::address::{HostAndPort, server};
use super::file;
use super::item::Item;
use super::quantity::duration;
use super::section::Section;
use super::shown::show_text;
use super::{ListenConfig, Purpose};
use crate::dns::settings::Via;
use crate::net::dial::DialOptions;
use crate::proxy::credentials::Credentials;
use crate::proxy::shadowsocks::cipher::Method;
use crate::proxy::socks5::message::LONGEST_CREDENTIAL;
use crate::secret::Secret;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(120);

const SERVER: &str = "host:port, for example \"ss.example.com:8388\"";

/// What routes are called in logs.
const RESERVED_NAMES: &[&str] = &["direct", "block"];

/// One `[[proxy]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Unique; by default the server as written, made unique by `#2`, `#3`, ...
    pub name: String,
    /// Host name or address literal, without brackets.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// How long a dial may take.
    pub connect_timeout: Duration,
    /// Whether its server carries UDP.
    pub udp: bool,
    /// How connections to it are made: `fast-open`, `multipath`.
    pub dial_options: DialOptions,
    /// The protocol and what it needs.
    pub kind: ProxyKind,
}

/// The protocol of a `[[proxy]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyKind {
    /// `type = "shadowsocks"`
    Shadowsocks {
        /// The cipher.
        method: Method,
        /// The password, from `password` or the first line of `password-file`.
        password: Secret,
    },
    /// `type = "http"`
    Http {
        /// User name and password, which may be empty.
        credentials: Option<Credentials>,
    },
    /// `type = "socks5"`
    Socks5 {
        /// User name and password, which may be empty.
        credentials: Option<Credentials>,
    },
}

/// `[[proxy]] type`
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Shadowsocks,
    Http,
    Socks5,
}

/// All of them, as the file names them.
const TYPES: [(&str, Type); 3] =
    [("shadowsocks", Type::Shadowsocks), ("http", Type::Http), ("socks5", Type::Socks5)];

/// A `[[proxy]]` that may still want its default name.
struct Draft {
    name: Option<String>,
    /// The server as written.
    written: String,
    server: HostAndPort,
    connect_timeout: Duration,
    udp: bool,
    dial_options: DialOptions,
    kind: ProxyKind,
}

/// Reads all `[[proxy]]`; `listen` is where none may be. `None` if none is written.
pub(super) fn read(top: &Section<'_>, listen: &ListenConfig) -> Option<Vec<ProxyConfig>> {
    let tables = match top.tables("proxy") {
        Some(tables) if tables.is_empty() => return None,
        tables => tables.unwrap_or_default(),
    };
    let mut names = HashSet::new();
    let drafts: Vec<Draft> =
        tables.iter().filter_map(|table| draft(table, &mut names, listen)).collect();
    Some(drafts.into_iter().map(|draft| draft.finish(&mut names)).collect())
}

/// Reports that no `[[proxy]]` is written, unless nothing would go through one.
pub(super) fn demand(top: &Section<'_>, purpose: Purpose, via: Via) {
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

/// The name, the server, the type and what belongs to it are shown by the summary itself.
fn draft(
    section: &Section<'_>,
    names: &mut HashSet<String>,
    listen: &ListenConfig,
) -> Option<Draft> {
    let name = section.item("name").and_then(|item| own_name(&item, names));
    let kind = section.item("type");
    let server = match section.item("server") {
        Some(item) => own_server(&item, listen),
        None => section.missing("server", SERVER),
    };
    let kind = KeysOfType::of(section).kind(kind);
    let mut connect_timeout = CONNECT_TIMEOUT;
    section.key("connect-timeout", &mut connect_timeout, |item| {
        item.parse(duration(CONNECT_TIMEOUTS))
    });
    let carries_udp = !matches!(kind, Some(ProxyKind::Http { .. }));
    let mut udp = carries_udp;
    section.key("udp", &mut udp, |item| match item.boolean()? {
        true if !carries_udp => item.refuse("false, since HTTP CONNECT carries no UDP"),
        udp => Some(udp),
    });
    let mut dial_options = DialOptions::default();
    section.key("fast-open", &mut dial_options.fast_open, Item::boolean);
    section.key("multipath", &mut dial_options.multipath, Item::boolean);
    let (written, server) = server?;
    Some(Draft { name, written, server, connect_timeout, udp, dial_options, kind: kind? })
}

/// Reads the server; the text as written comes along.
fn own_server(item: &Item<'_>, listen: &ListenConfig) -> Option<(String, HostAndPort)> {
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
    fn finish(self, names: &mut HashSet<String>) -> ProxyConfig {
        let name = self.name.unwrap_or_else(|| {
            let numbered = |number: usize| match number {
                1 => self.written.clone(),
                number => format!("{}#{number}", self.written),
            };
            let free = (1..).map(numbered).find(|name| names.insert(name.clone()));
            free.unwrap_or(self.written.clone())
        });
        ProxyConfig {
            name,
            host: self.server.host,
            port: self.server.port,
            connect_timeout: self.connect_timeout,
            udp: self.udp,
            dial_options: self.dial_options,
            kind: self.kind,
        }
    }
}

/// The keys of which each type takes some.
struct KeysOfType<'a> {
    section: &'a Section<'a>,
    method: Option<Item<'a>>,
    username: Option<Item<'a>>,
    password: Option<Item<'a>>,
    password_file: Option<Item<'a>>,
}

impl<'a> KeysOfType<'a> {
    fn of(section: &'a Section<'a>) -> Self {
        KeysOfType {
            section,
            method: section.item("method"),
            username: section.item("username"),
            password: section.item("password"),
            password_file: section.item("password-file"),
        }
    }

    fn kind(&self, kind: Option<Item<'a>>) -> Option<ProxyKind> {
        let Some(item) = kind else {
            return self.section.missing("type", "\"shadowsocks\", \"http\" or \"socks5\"");
        };
        match item.choice(&TYPES)? {
            Type::Shadowsocks => self.shadowsocks(),
            Type::Http => {
                let credentials = self.credentials(http_username)?;
                Some(ProxyKind::Http { credentials })
            }
            Type::Socks5 => {
                let credentials = self.credentials(socks_username)?;
                Some(ProxyKind::Socks5 { credentials: self.fit_for_socks(credentials)? })
            }
        }
    }

    fn shadowsocks(&self) -> Option<ProxyKind> {
        let methods = Method::ALL.map(|method| (method.name(), method));
        let method = match &self.method {
            Some(item) => item.choice(&methods),
            None => {
                let names = methods.map(|(name, _)| format!("\"{name}\""));
                self.section.missing("method", &names.join(", "))
            }
        };
        if let Some(item) = &self.username {
            item.refuse::<()>("nothing: shadowsocks has no username");
        }
        let password = match self.secret() {
            Some(Some(password)) if password.expose().is_empty() => {
                let item = self.password.as_ref();
                item.and_then(|item| item.refuse_as(show_text(""), "a password that is not empty"))
            }
            Some(password) => password,
            None => {
                let accepted = "password or password-file: shadowsocks needs one";
                self.section.missing("password", accepted)
            }
        };
        Some(ProxyKind::Shadowsocks { method: method?, password: password? })
    }

    /// User name and password, or neither. `None`: they were refused.
    fn credentials(
        &self,
        read_username: fn(&str) -> Result<String, String>,
    ) -> Option<Option<Credentials>> {
        if let Some(item) = &self.method {
            item.refuse::<()>("nothing: only type = \"shadowsocks\" has a method");
        }
        let both = "username and password, or neither (password = \"\" if the user has none)";
        let username = self.username.as_ref().map(|item| item.parse(read_username));
        match (username, self.secret()) {
            (None, None) => Some(None),
            (Some(username), Some(password)) => {
                Some(Some(Credentials { username: username?, password: password? }))
            }
            (Some(_), None) => self.section.missing("password", both),
            (None, Some(_)) => self.section.missing("username", both),
        }
    }

    fn fit_for_socks(&self, credentials: Option<Credentials>) -> Option<Option<Credentials>> {
        let length = credentials.as_ref().map_or(0, |it| it.password.expose().len());
        if length <= LONGEST_CREDENTIAL {
            return Some(credentials);
        }
        let item = self.password.as_ref().or(self.password_file.as_ref())?;
        item.refuse_as(
            format!("a password of {length} bytes"),
            "at most 255 bytes, since SOCKS5 can carry no more (RFC 1929)",
        )
    }

    /// The password from the file or from the file it names. `None`: neither key is there;
    /// `Some(None)`: it was refused.
    fn secret(&self) -> Option<Option<Secret>> {
        match (&self.password, &self.password_file) {
            (None, None) => None,
            (Some(item), None) => Some(written_password(item)),
            (None, Some(item)) => {
                item.note_change();
                Some(file::password(item))
            }
            (Some(item), Some(file)) => {
                item.source.password_seen();
                let line = item.line();
                let found = format_args!("a password-file beside the password of line {line}");
                Some(file.refuse_as(found, "one of the two"))
            }
        }
    }
}

fn written_password(item: &Item<'_>) -> Option<Secret> {
    item.source.password_seen();
    Some(Secret::new(item.secret()?))
}

/// RFC 7617, 2: the first colon ends the user name, control characters are forbidden.
fn http_username(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(':') || text.contains(char::is_control) {
        return Err("a user name without colons and control characters".into());
    }
    Ok(text.to_owned())
}

/// RFC 1929, 2.
fn socks_username(text: &str) -> Result<String, String> {
    if !(1..=LONGEST_CREDENTIAL).contains(&text.len()) {
        return Err("a user name of 1 to 255 bytes".into());
    }
    Ok(text.to_owned())
}
