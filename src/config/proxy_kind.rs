//! What the file, or a link, says of a proxy's protocol, and the words that both have to keep to.

use crate::plugin::spec::PluginSpec;
use crate::proxy::credentials::Credentials;
use crate::proxy::shadowsocks::cipher::master_key::MasterKey;
use crate::proxy::socks5::message::LONGEST_CREDENTIAL;
use crate::proxy::trust::TlsServer;

/// What routes are called in logs.
const RESERVED_NAMES: &[&str] = &["direct", "block"];

/// The protocol of a `[[proxy]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyKind {
    /// `type = "shadowsocks"`
    Shadowsocks {
        /// `method`, and the password that fits it, from `password`, the first line of
        /// `password-file`, or a link.
        key: MasterKey,
        /// `plugin` and `plugin-options`, or those of a link.
        plugin: Option<PluginSpec>,
    },
    /// `type = "http"`
    Http {
        /// User name and password, which may be empty.
        credentials: Option<Credentials>,
    },
    /// `type = "https"`
    Https {
        /// User name and password, which may be empty.
        credentials: Option<Credentials>,
        /// Who the server has to be: `tls-name`, and `tls-ca-file` or `tls-pin`.
        tls: TlsServer,
    },
    /// `type = "socks5"`
    Socks5 {
        /// User name and password, which may be empty.
        credentials: Option<Credentials>,
    },
}

impl ProxyKind {
    /// `type` of the `[[proxy]]`.
    pub fn word(&self) -> &'static str {
        match self {
            ProxyKind::Shadowsocks { .. } => "shadowsocks",
            ProxyKind::Http { .. } => "http",
            ProxyKind::Https { .. } => "https",
            ProxyKind::Socks5 { .. } => "socks5",
        }
    }

    /// What stands between snet and the server.
    pub fn plugin(&self) -> Option<&PluginSpec> {
        match self {
            ProxyKind::Shadowsocks { plugin, .. } => plugin.as_ref(),
            ProxyKind::Http { .. } | ProxyKind::Https { .. } | ProxyKind::Socks5 { .. } => None,
        }
    }

    /// Whether the server is asked to carry datagrams if the file does not say it. They pass a
    /// plugin by: who wants that has to say so.
    pub(super) fn udp_by_default(&self) -> bool {
        self.may_carry_datagrams() && self.plugin().is_none()
    }

    /// Whether the protocol has a form for datagrams; whether the server has is another question.
    pub fn may_carry_datagrams(&self) -> bool {
        !matches!(self, ProxyKind::Http { .. } | ProxyKind::Https { .. })
    }
}

/// Whether logs mean something else by this name.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED_NAMES.contains(&name.to_ascii_lowercase().as_str())
}

/// RFC 7617, 2: the first colon ends the user name, control characters are forbidden.
pub(super) fn http_username(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(':') || text.contains(char::is_control) {
        return Err("a user name without colons and control characters".into());
    }
    Ok(text.to_owned())
}

/// RFC 1929, 2.
pub(super) fn socks_username(text: &str) -> Result<String, String> {
    if !(1..=LONGEST_CREDENTIAL).contains(&text.len()) {
        return Err("a user name of 1 to 255 bytes".into());
    }
    Ok(text.to_owned())
}
