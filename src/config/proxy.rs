//! `[[proxy]]`: the upstream servers, in order of preference.

use super::address::{HostAndPort, server};
use super::file;
use super::item::Item;
use super::link::{self, LinkedProxy};
use super::method;
use super::plugin::PluginKeys;
use super::proxy_kind::{ProxyKind, http_username, is_reserved, socks_username};
use super::quantity::duration;
use super::section::Section;
use super::shown::show_text;
use super::tls::{self, TlsKeys};
use super::{ListenConfig, Purpose};
use crate::dispatch::SendNames;
use crate::dns::settings::Via;
use crate::net::dial::DialOptions;
use crate::proxy::credentials::Credentials;
use crate::proxy::shadowsocks::cipher::master_key::{MasterKey, UnfitPassword};
use crate::proxy::socks5::message::LONGEST_CREDENTIAL;
use crate::secret::Secret;
use crate::share_link::LinkProblem;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(120);

const SERVER: &str = "host:port, for example \"ss.example.com:8388\"";

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
    /// Whether it is told names or addresses.
    pub send_names: SendNames,
    /// How connections to it are made: `fast-open`, `multipath`.
    pub dial_options: DialOptions,
    /// Whether connections to it are dialled ahead of need.
    pub warm: bool,
    /// The protocol and what it needs.
    pub kind: ProxyKind,
}

/// `[[proxy]] type`
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Shadowsocks,
    Http,
    Https,
    Socks5,
}

/// All of them, as the file names them.
const TYPES: [(&str, Type); 4] = [
    ("shadowsocks", Type::Shadowsocks),
    ("http", Type::Http),
    ("https", Type::Https),
    ("socks5", Type::Socks5),
];

/// What `send-names` takes.
pub(super) const SEND_NAMES: [(&str, SendNames); 3] =
    [("auto", SendNames::Auto), ("always", SendNames::Always), ("off", SendNames::Off)];

/// A `[[proxy]]` that may still want its default name.
struct Draft {
    name: Option<String>,
    /// The server as written.
    written: String,
    server: HostAndPort,
    connect_timeout: Duration,
    udp: bool,
    send_names: SendNames,
    dial_options: DialOptions,
    warm: bool,
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
            "at least one [[proxy]] or [[subscription]], or trusted-via = \"direct\" in [dns]"
        }
        (Purpose::Daemon, _) => {
            "at least one [[proxy]] or [[subscription]], for example type = \"http\" with \
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
    let link = section.item("link");
    let (kind, server) = (section.item("type"), section.item("server"));
    let keys = KeysOfType::of(section);
    let (server, kind) = match link {
        Some(link) => {
            keys.refuse_beside(&link, [&kind, &server]);
            keys.tls_beside(linked(&link, listen)?)
        }
        None => {
            let server = match server {
                Some(item) => own_server(&item, listen),
                None => section.missing("server", SERVER),
            };
            let host = server.as_ref().map(|(_, server)| server.host.clone());
            (server, keys.kind(kind, host.as_deref()))
        }
    };
    let mut connect_timeout = CONNECT_TIMEOUT;
    section.key("connect-timeout", &mut connect_timeout, |item| {
        item.parse(duration(CONNECT_TIMEOUTS))
    });
    let carries_udp = kind.as_ref().is_none_or(ProxyKind::may_carry_datagrams);
    let mut udp = kind.as_ref().is_none_or(ProxyKind::udp_by_default);
    section.key("udp", &mut udp, |item| match item.boolean()? {
        true if !carries_udp => item.refuse("false, since HTTP CONNECT carries no UDP"),
        udp => Some(udp),
    });
    let mut send_names = SendNames::default();
    section.key("send-names", &mut send_names, |item| item.choice(&SEND_NAMES));
    let mut dial_options = DialOptions::default();
    let has_plugin = kind.as_ref().is_some_and(|kind| kind.plugin().is_some());
    let option = |item: &Item<'_>| match item.boolean()? {
        true if has_plugin => item.refuse("false, since the plugin makes the connections"),
        option => Some(option),
    };
    section.key("fast-open", &mut dial_options.fast_open, option);
    section.key("multipath", &mut dial_options.multipath, option);
    let mut warm = true;
    section.key("warm", &mut warm, warmth);
    let (written, server) = server?;
    let kind = kind?;
    Some(Draft {
        name,
        written,
        server,
        connect_timeout,
        udp,
        send_names,
        dial_options,
        warm,
        kind,
    })
}

/// Whether connections are dialled ahead of need.
pub(super) fn warmth(item: &Item<'_>) -> Option<bool> {
    item.choice(&[("auto", true), ("off", false)])
}

/// What a proxy is called by default, where it is, and what it speaks.
type ServerAndKind = (Option<(String, HostAndPort)>, Option<ProxyKind>);

/// The proxy of a link. No message shows the link, which may hold a password.
fn linked(item: &Item<'_>, listen: &ListenConfig) -> Option<ServerAndKind> {
    item.source.password_seen();
    match link::read(item.secret()?) {
        Ok(LinkedProxy { server, .. }) if is_own(&server, listen) => item.refuse_as(
            "a link to snet itself",
            "another server than the address snet itself listens on",
        ),
        Ok(LinkedProxy { label, server, kind }) => Some((Some((label, server)), Some(kind))),
        Err(LinkProblem { found, accepted }) => item.refuse_as(found, accepted),
    }
}

/// Reads the server; the text as written comes along.
fn own_server(item: &Item<'_>, listen: &ListenConfig) -> Option<(String, HostAndPort)> {
    // ss://BASE64@host:port and http://user:password@host:port are in use elsewhere.
    if item.parse(|text| Ok(text.contains('@')))? {
        return item.refuse_as("a URL that may hold a password", SERVER);
    }
    let (written, server) = item.parse(|text| Ok((text.to_owned(), server(text)?)))?;
    match is_own(&server, listen) {
        true => item.refuse("another address than the one snet itself listens on"),
        false => Some((written, server)),
    }
}

pub(super) fn is_own(server: &HostAndPort, listen: &ListenConfig) -> bool {
    let own = server.port == listen.tcp_port || server.port == listen.dns_port;
    own && server.address().is_some_and(|ip| listen.is_own(ip))
}

fn own_name(item: &Item<'_>, names: &mut HashSet<String>) -> Option<String> {
    let name = item.parse(|text| {
        let usable =
            !text.trim().is_empty() && text.len() <= 64 && !text.contains(char::is_control);
        if usable { Ok(text.to_owned()) } else { Err("a name of 1 to 64 bytes".to_owned()) }
    })?;
    if is_reserved(&name) {
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
            send_names: self.send_names,
            dial_options: self.dial_options,
            warm: self.warm,
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
    plugin: PluginKeys<'a>,
    tls: TlsKeys<'a>,
}

impl<'a> KeysOfType<'a> {
    fn of(section: &'a Section<'a>) -> Self {
        KeysOfType {
            section,
            method: section.item("method"),
            username: section.item("username"),
            password: section.item("password"),
            password_file: section.item("password-file"),
            plugin: PluginKeys::of(section),
            tls: TlsKeys::of(section),
        }
    }

    /// A link says all of it.
    fn refuse_beside(&self, link: &Item<'_>, others: [&Option<Item<'_>>; 2]) {
        let own = [&self.method, &self.username, &self.password, &self.password_file];
        let line = link.line();
        for item in others.into_iter().chain(own).chain(self.plugin.written()).flatten() {
            let found = format!("this key beside the link of line {line}");
            item.refuse_as::<()>(found, "one of the two: a link says it already");
        }
    }

    /// A link knows nothing of authorities and pins, so these may stand beside it.
    fn tls_beside(&self, (server, kind): ServerAndKind) -> ServerAndKind {
        let kind = match kind {
            Some(ProxyKind::Https { credentials, tls }) => {
                let tls = self.tls.read(Some(&tls.name));
                tls.map(|tls| ProxyKind::Https { credentials, tls })
            }
            kind => {
                self.tls.refuse();
                kind
            }
        };
        (server, kind)
    }

    fn kind(&self, kind: Option<Item<'a>>, host: Option<&str>) -> Option<ProxyKind> {
        let Some(item) = kind else {
            let accepted = TYPES.map(|(name, _)| format!("\"{name}\"")).join(", ");
            return self.section.missing("type", &accepted);
        };
        let kind = item.choice(&TYPES)?;
        if kind == Type::Https
            && let Err(accepted) = tls::spoken()
        {
            return item.refuse(accepted);
        }
        if kind != Type::Https {
            self.tls.refuse();
        }
        if kind != Type::Shadowsocks {
            self.plugin.refuse();
        }
        match kind {
            Type::Shadowsocks => self.shadowsocks(),
            Type::Http => {
                let credentials = self.credentials(http_username)?;
                Some(ProxyKind::Http { credentials })
            }
            Type::Https => {
                let credentials = self.credentials(http_username);
                let tls = self.tls.read(host);
                Some(ProxyKind::Https { credentials: credentials?, tls: tls? })
            }
            Type::Socks5 => {
                let credentials = self.credentials(socks_username)?;
                Some(ProxyKind::Socks5 { credentials: self.fit_for_socks(credentials)? })
            }
        }
    }

    fn shadowsocks(&self) -> Option<ProxyKind> {
        let method = match &self.method {
            Some(item) => method::read(item),
            None => self.section.missing("method", &method::list()),
        };
        let plugin = self.plugin.read();
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
        let key = match MasterKey::new(method?, &password?) {
            Ok(key) => key,
            Err(UnfitPassword { found, accepted }) => {
                let item = self.password.as_ref().or(self.password_file.as_ref())?;
                return item.refuse_as(found, accepted);
            }
        };
        Some(ProxyKind::Shadowsocks { key, plugin: plugin? })
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
