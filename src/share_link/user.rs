//! `http://`, `https://` and `socks5://` links: `user:password@host:port`, each part
//! percent-encoded.

use super::encoding::{base64_decoded, percent_decoded};
use super::{LinkProblem, LinkedProtocol, Pieces, ShareLink, place};
use crate::proxy::credentials::Credentials;
use crate::secret::Secret;

/// RFC 1928, 3.
const SOCKS_PORT: u16 = 1080;

/// What clients take where the link has no port (RFC 9110, 4.2.2).
const HTTPS_PORT: u16 = 443;

const WANTED: &str = "user:password@host:port with user and password percent-encoded";

/// Without a port curl takes 1080 and others 80: so it has to be there.
pub(super) fn http(pieces: &Pieces<'_>) -> Result<ShareLink, LinkProblem> {
    without_tls(pieces)?;
    let credentials = credentials(pieces.user.unwrap_or_default())?;
    link(pieces, None, LinkedProtocol::Http { credentials })
}

/// Where a link says that the certificate is not to be checked, another one has to be trusted: no
/// password is sent to a server that may be any.
pub(super) fn https(pieces: &Pieces<'_>) -> Result<ShareLink, LinkProblem> {
    for key in ["allowinsecure", "insecure", "skip-cert-verify"] {
        if is_asked(pieces, key) {
            return Err(LinkProblem::new(
                format!("the option {key}, by which the server may be any"),
                "a link without it, with tls-ca-file or tls-pin beside it in [[proxy]]",
            ));
        }
    }
    let tls_name = ["sni", "peer"].iter().find_map(|key| pieces.option(key)).map(str::to_owned);
    let credentials = credentials(pieces.user.unwrap_or_default())?;
    link(pieces, Some(HTTPS_PORT), LinkedProtocol::Https { credentials, tls_name })
}

pub(super) fn socks5(pieces: &Pieces<'_>) -> Result<ShareLink, LinkProblem> {
    without_tls(pieces)?;
    let credentials = credentials(pieces.user.unwrap_or_default())?;
    link(pieces, Some(SOCKS_PORT), LinkedProtocol::Socks5 { credentials })
}

/// v2rayN's: user and password in base64.
pub(super) fn v2rayn_socks(pieces: &Pieces<'_>) -> Result<ShareLink, LinkProblem> {
    without_tls(pieces)?;
    let user = pieces.user.unwrap_or_default();
    let plain = percent_decoded(user);
    let decoded = base64_decoded(&plain).filter(|text| text.contains(&b':'));
    let credentials = match decoded {
        Some(text) if !plain.contains(&b':') => {
            let colon = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
            pair(&text[..colon], text.get(colon + 1..).unwrap_or_default())?
        }
        _ => credentials(user)?,
    };
    link(pieces, Some(SOCKS_PORT), LinkedProtocol::Socks5 { credentials })
}

fn link(
    pieces: &Pieces<'_>,
    usual_port: Option<u16>,
    protocol: LinkedProtocol,
) -> Result<ShareLink, LinkProblem> {
    let (host, port) = place(pieces.place, usual_port)?;
    Ok(ShareLink { name: pieces.name.clone(), host, port, protocol })
}

/// A user without a colon has no password.
fn credentials(user: &str) -> Result<Option<Credentials>, LinkProblem> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    pair(&percent_decoded(name), &percent_decoded(password))
}

fn pair(name: &[u8], password: &[u8]) -> Result<Option<Credentials>, LinkProblem> {
    match std::str::from_utf8(name) {
        Ok("") if password.is_empty() => Ok(None),
        Ok("") => Err(LinkProblem::new("a password without a user name", WANTED)),
        Ok(name) => {
            let password = Secret::new(password);
            Ok(Some(Credentials { username: name.to_owned(), password }))
        }
        Err(_) => Err(LinkProblem::new("a user name that is not UTF-8", WANTED)),
    }
}

/// Left out, the password would go out in clear.
fn without_tls(pieces: &Pieces<'_>) -> Result<(), LinkProblem> {
    for key in ["tls", "security", "over-tls"] {
        if is_asked(pieces, key) {
            let found = format!("the option {key}, which only an https:// proxy can have");
            return Err(LinkProblem::new(found, "a proxy without TLS, or an https:// link"));
        }
    }
    Ok(())
}

fn is_asked(pieces: &Pieces<'_>, key: &str) -> bool {
    let harmless = ["0", "false", "none"];
    let value = pieces.option(key).map(str::to_ascii_lowercase);
    value.is_some_and(|value| !harmless.contains(&value.as_str()))
}
