//! The canonical form of a link: SIP002 for shadowsocks (the methods of 2022 percent-encoded, as
//! SIP022 wants it, the others in base64url without padding), user and password percent-encoded for
//! the others.

use super::encoding::{base64_encoded, percent_encoded};
use super::{LinkedProtocol, ShareLink};
use crate::proxy::credentials::Credentials;
use std::fmt;
use zeroize::Zeroizing;

pub(super) fn link(link: &ShareLink, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &link.protocol {
        LinkedProtocol::Shadowsocks { method, password, .. } if method.starts_with("2022-") => {
            write!(f, "ss://{method}:{}@", *percent_encoded(password.expose()))?;
        }
        LinkedProtocol::Shadowsocks { method, password, .. } => {
            let mut both = Zeroizing::new(format!("{method}:").into_bytes());
            both.extend_from_slice(password.expose());
            write!(f, "ss://{}@", *base64_encoded(&both))?;
        }
        LinkedProtocol::Http { credentials } => {
            f.write_str("http://")?;
            user(credentials.as_ref(), f)?;
        }
        LinkedProtocol::Https { credentials, .. } => {
            f.write_str("https://")?;
            user(credentials.as_ref(), f)?;
        }
        LinkedProtocol::Socks5 { credentials } => {
            f.write_str("socks5://")?;
            user(credentials.as_ref(), f)?;
        }
    }
    let ShareLink { name, host, port, protocol } = link;
    if host.contains(':') {
        write!(f, "[{host}]:{port}")?;
    } else {
        write!(f, "{host}:{port}")?;
    }
    if let LinkedProtocol::Shadowsocks { plugin: Some(plugin), .. } = &link.protocol {
        let mut text = Zeroizing::new(plugin.program().as_bytes().to_vec());
        let options = plugin.options().expose();
        if !options.is_empty() {
            text.push(b';');
            text.extend_from_slice(options);
        }
        write!(f, "/?plugin={}", *percent_encoded(&text))?;
    }
    if let LinkedProtocol::Https { tls_name: Some(tls_name), .. } = protocol {
        write!(f, "?sni={}", *percent_encoded(tls_name.as_bytes()))?;
    }
    match name {
        Some(name) => write!(f, "#{}", *percent_encoded(name.as_bytes())),
        None => Ok(()),
    }
}

fn user(credentials: Option<&Credentials>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(Credentials { username, password }) = credentials else { return Ok(()) };
    let password = percent_encoded(password.expose());
    write!(f, "{}:{}@", *percent_encoded(username.as_bytes()), *password)
}
