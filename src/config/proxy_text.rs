//! A proxy as a link and as a table of the file, and back from a link: `snet link`.

use super::link::{LinkedProxy, place, read};
use super::proxy::{CONNECT_TIMEOUT, ProxyConfig, SEND_NAMES};
use super::proxy_kind::ProxyKind;
use crate::dispatch::SendNames;
use crate::net::dial::DialOptions;
use crate::proxy::credentials::Credentials;
use crate::proxy::trust::{TlsServer, Trust, pin_text};
use crate::secret::Secret;
use crate::share_link::{LinkProblem, LinkedProtocol, ShareLink};
use std::fmt::Write;
use zeroize::Zeroizing;

/// The proxy that a link means, with what the file says by default.
///
/// # Errors
/// It is none, or asks for what snet does not do.
pub fn proxy_of_link(text: &str) -> Result<ProxyConfig, LinkProblem> {
    read(text).map(ProxyConfig::of_link)
}

impl ProxyConfig {
    /// The proxy of a link, with what the file says by default.
    pub(super) fn of_link(LinkedProxy { label, server, kind }: LinkedProxy) -> Self {
        ProxyConfig {
            name: label,
            host: server.host,
            port: server.port,
            connect_timeout: CONNECT_TIMEOUT,
            udp: kind.udp_by_default(),
            send_names: SendNames::default(),
            dial_options: DialOptions::default(),
            warm: true,
            kind,
        }
    }

    /// The link that means this proxy; it holds the password, and knows nothing of time-outs,
    /// options, authorities and pins.
    pub fn link(&self) -> ShareLink {
        let is_default = self.name == place(&self.host, self.port);
        ShareLink {
            name: (!is_default).then(|| self.name.clone()),
            host: self.host.clone(),
            port: self.port,
            protocol: match &self.kind {
                ProxyKind::Shadowsocks { key, plugin } => LinkedProtocol::Shadowsocks {
                    method: key.method().name().into(),
                    password: key.password().clone(),
                    plugin: plugin.clone(),
                },
                ProxyKind::Http { credentials } => {
                    LinkedProtocol::Http { credentials: credentials.clone() }
                }
                ProxyKind::Https { credentials, tls } => LinkedProtocol::Https {
                    credentials: credentials.clone(),
                    tls_name: (tls.name != self.host).then(|| tls.name.clone()),
                },
                ProxyKind::Socks5 { credentials } => {
                    LinkedProtocol::Socks5 { credentials: credentials.clone() }
                }
            },
        }
    }

    /// The `[[proxy]]` that means this proxy; it holds the password.
    pub fn table(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new("[[proxy]]\n".to_owned());
        let mut line = |key: &str, value: &str| {
            // A String takes every write.
            let _ = writeln!(text, "{key} = {value}");
        };
        if self.name != place(&self.host, self.port) {
            line("name", &quoted(self.name.as_bytes()));
        }
        let (kind, method, credentials) = match &self.kind {
            ProxyKind::Shadowsocks { key, .. } => {
                ("shadowsocks", Some(key.method().name()), Some((None, key.password())))
            }
            ProxyKind::Http { credentials } => ("http", None, parts(credentials.as_ref())),
            ProxyKind::Https { credentials, .. } => ("https", None, parts(credentials.as_ref())),
            ProxyKind::Socks5 { credentials } => ("socks5", None, parts(credentials.as_ref())),
        };
        line("type", &quoted(kind.as_bytes()));
        line("server", &quoted(place(&self.host, self.port).as_bytes()));
        if let Some(method) = method {
            line("method", &quoted(method.as_bytes()));
        }
        if let Some((username, password)) = credentials {
            if let Some(username) = username {
                line("username", &quoted(username.as_bytes()));
            }
            line("password", &quoted(password.expose()));
        }
        if let ProxyKind::Https { tls: TlsServer { name, trust }, .. } = &self.kind {
            if *name != self.host {
                line("tls-name", &quoted(name.as_bytes()));
            }
            match trust {
                Trust::Public => {}
                Trust::Authorities { file, .. } => {
                    line("tls-ca-file", &quoted(file.as_os_str().as_encoded_bytes()));
                }
                Trust::Key(pin) => line("tls-pin", &quoted(pin_text(pin).as_bytes())),
            }
        }
        if let Some(plugin) = self.kind.plugin() {
            line("plugin", &quoted(plugin.program().as_bytes()));
            let options = plugin.options().expose();
            if !options.is_empty() {
                line("plugin-options", &quoted(options));
            }
        }
        if self.udp != self.kind.udp_by_default() {
            line("udp", &self.udp.to_string());
        }
        if self.connect_timeout != CONNECT_TIMEOUT {
            line("connect-timeout", &format!("\"{}ms\"", self.connect_timeout.as_millis()));
        }
        let written = SEND_NAMES.iter().find(|(_, meant)| *meant == self.send_names);
        if let Some((word, _)) = written.filter(|(_, meant)| *meant != SendNames::default()) {
            line("send-names", &quoted(word.as_bytes()));
        }
        let DialOptions { fast_open, multipath } = self.dial_options;
        for (key, is_on) in [("fast-open", fast_open), ("multipath", multipath)] {
            if is_on {
                line(key, "true");
            }
        }
        if !self.warm {
            line("warm", "\"off\"");
        }
        text
    }
}

fn parts(credentials: Option<&Credentials>) -> Option<(Option<&str>, &Secret)> {
    credentials.map(|Credentials { username, password }| (Some(username.as_str()), password))
}

/// A string of TOML. Bytes that are no text (they can only come from a password-file) are shown as
/// such, and would have to stay in their file.
pub(super) fn quoted(bytes: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    let mut quoted = Zeroizing::new(String::with_capacity(text.len() + 2));
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
