//! `link` of a `[[proxy]]`: what a link (`crate::share_link`) says, checked as the keys of the file
//! are.

use super::address::{HostAndPort, server};
use super::method;
use super::proxy_kind::{ProxyKind, http_username, is_reserved, socks_username};
use super::tls::{self, server_name};
use crate::plugin::spec::PluginSpec;
use crate::proxy::credentials::Credentials;
use crate::proxy::shadowsocks::cipher::master_key::{MasterKey, UnfitPassword};
use crate::proxy::socks5::message::LONGEST_CREDENTIAL;
use crate::proxy::trust::{TlsServer, Trust};
use crate::secret::Secret;
use crate::share_link::{LinkProblem, LinkedProtocol, ShareLink};

/// What a link says, checked.
pub(super) struct LinkedProxy {
    /// Its name in logs, unless the file or another proxy has a better claim.
    pub(super) label: String,
    pub(super) server: HostAndPort,
    pub(super) kind: ProxyKind,
}

/// Reads a link as the file may have it.
pub(super) fn read(text: &str) -> Result<LinkedProxy, LinkProblem> {
    checked(ShareLink::parse(text)?).map_err(|(_, problem)| problem)
}

/// Checks what a link says. An error comes with the name.
pub(super) fn checked(link: ShareLink) -> Result<LinkedProxy, (String, LinkProblem)> {
    let written = place(&link.host, link.port);
    let name = link.name.clone().unwrap_or(written);
    linked(link).map_err(|problem| (name, problem))
}

fn linked(link: ShareLink) -> Result<LinkedProxy, LinkProblem> {
    let ShareLink { name, host, port, protocol } = link;
    let written = place(&host, port);
    let found = |accepted| LinkProblem { found: format!("the server {written:?}"), accepted };
    let server = server(&written).map_err(found)?;
    let kind = match protocol {
        LinkedProtocol::Shadowsocks { method, password, plugin } => {
            shadowsocks(&method, password, plugin)?
        }
        LinkedProtocol::Http { credentials } => {
            check(credentials.as_ref(), http_username)?;
            ProxyKind::Http { credentials }
        }
        LinkedProtocol::Https { credentials, tls_name } => {
            let found = || "a link to a proxy that speaks TLS".to_owned();
            tls::spoken().map_err(|accepted| LinkProblem { found: found(), accepted })?;
            check(credentials.as_ref(), http_username)?;
            let name = tls_name.unwrap_or_else(|| server.host.clone());
            let found = || format!("the name {name:?} for TLS");
            server_name(&name).map_err(|accepted| LinkProblem { found: found(), accepted })?;
            let tls = TlsServer { name, trust: Trust::Public };
            ProxyKind::Https { credentials, tls }
        }
        LinkedProtocol::Socks5 { credentials } => {
            check(credentials.as_ref(), socks_username)?;
            let length = credentials.as_ref().map_or(0, |it| it.password.expose().len());
            if length > LONGEST_CREDENTIAL {
                let found = format!("a password of {length} bytes");
                let accepted = "at most 255 bytes, since SOCKS5 can carry no more (RFC 1929)";
                return Err(LinkProblem { found, accepted: accepted.into() });
            }
            ProxyKind::Socks5 { credentials }
        }
    };
    let usable = name.filter(|name| !is_reserved(name));
    Ok(LinkedProxy { label: usable.unwrap_or(written), server, kind })
}

fn shadowsocks(
    method: &str,
    password: Secret,
    plugin: Option<PluginSpec>,
) -> Result<ProxyKind, LinkProblem> {
    let method = method::of_link(method)?;
    match MasterKey::new(method, &password) {
        Ok(key) => Ok(ProxyKind::Shadowsocks { key, plugin }),
        Err(UnfitPassword { found, accepted }) => Err(LinkProblem { found, accepted }),
    }
}

fn check(
    credentials: Option<&Credentials>,
    read: fn(&str) -> Result<String, String>,
) -> Result<(), LinkProblem> {
    let Some(Credentials { username, .. }) = credentials else { return Ok(()) };
    let found = || format!("a user name of {} bytes", username.len());
    read(username).map(drop).map_err(|accepted| LinkProblem { found: found(), accepted })
}

/// `host:port`
pub(super) fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
