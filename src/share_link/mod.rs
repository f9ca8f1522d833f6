//! Links to proxies, as providers hand them out and other programs export them: `ss://` (SIP002 and
//! what came before it), `http://`, `https://` and `socks5://`.
//!
//! There is a standard for some of them, and many forms in the wild. A link is cut by hand: the
//! name behind the first `#`, options behind the first `?`, the server behind the last `@`. What
//! was decoded is never cut by the rules of URLs again, since a password may hold any of these
//! characters.
//!
//! What a link asks for and snet does not do is an error. It is never left out: without its plugin,
//! or without TLS, traffic would go out with less protection than the provider meant.
//!
//! Only text is read here; whether the method is known and the server can be one is the
//! configuration's business. No error shows a secret.

pub mod encoding;
mod print;
mod shadowsocks;
mod user;

use crate::plugin::spec::PluginSpec;
use crate::proxy::credentials::Credentials;
use crate::secret::Secret;
use encoding::percent_decoded;
use std::fmt;

/// Longer ones are none.
const LONGEST: usize = 8 * 1024;

/// A name is cut after so many bytes.
const LONGEST_NAME: usize = 64;

const ACCEPTED: &str = "a link that begins with ss://, http://, https:// or socks5://";

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareLink {
    /// Behind the `#`, fit for a log. Providers often give several servers the same one.
    pub name: Option<String>,
    /// Host name or address, without brackets, as written.
    pub host: String,
    /// Not 0.
    pub port: u16,
    /// The protocol and what it needs.
    pub protocol: LinkedProtocol,
}

/// The protocol of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkedProtocol {
    /// `ss://`
    Shadowsocks {
        /// In lower case; known or not.
        method: String,
        /// Not empty.
        password: Secret,
        /// What stands between, if something does.
        plugin: Option<PluginSpec>,
    },
    /// `http://`
    Http {
        /// User name and password, if it has them.
        credentials: Option<Credentials>,
    },
    /// `https://`
    Https {
        /// User name and password, if it has them.
        credentials: Option<Credentials>,
        /// The name of its certificate, if it is not the host's.
        tls_name: Option<String>,
    },
    /// `socks5://`, `socks5h://`, `socks://`: names are always passed on.
    Socks5 {
        /// User name and password, if it has them.
        credentials: Option<Credentials>,
    },
}

/// Why a text is no link that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found}; accepted: {accepted}")]
pub struct LinkProblem {
    /// What stands there; never a secret.
    pub found: String,
    /// What could.
    pub accepted: String,
}

impl LinkProblem {
    fn new(found: impl Into<String>, accepted: impl Into<String>) -> Self {
        LinkProblem { found: found.into(), accepted: accepted.into() }
    }
}

impl ShareLink {
    /// Reads a link.
    ///
    /// # Errors
    /// It is none, or asks for what snet does not do.
    pub fn parse(text: &str) -> Result<Self, LinkProblem> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.len() > LONGEST {
            return Err(LinkProblem::new(format!("{} bytes", text.len()), ACCEPTED));
        }
        if text.contains(char::is_control) {
            return Err(LinkProblem::new("a text of several lines", "one link"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let found = if text.is_empty() { "nothing" } else { "a text without \"://\"" };
            return Err(LinkProblem::new(found, ACCEPTED));
        };
        let pieces = Pieces::of(rest);
        match scheme.to_ascii_lowercase().as_str() {
            "ss" => shadowsocks::parse(&pieces),
            "http" => user::http(&pieces),
            "socks5" | "socks5h" => user::socks5(&pieces),
            "socks" => user::v2rayn_socks(&pieces),
            "https" => user::https(&pieces),
            other => {
                let is_scheme = (1..=20).contains(&other.len())
                    && other.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
                let found = match is_scheme {
                    true => format!("a {other}:// link, whose protocol snet does not speak"),
                    false => "a text that does not begin with a protocol".into(),
                };
                Err(LinkProblem::new(found, ACCEPTED))
            }
        }
    }
}

/// What stands behind `://`, cut.
struct Pieces<'a> {
    /// Before the last `@`; `None` without one.
    user: Option<&'a str>,
    /// Behind it, or everything: host, port and path.
    place: &'a str,
    options: Vec<(String, String)>,
    name: Option<String>,
}

impl<'a> Pieces<'a> {
    fn of(text: &'a str) -> Self {
        let (text, name) = match text.split_once('#') {
            Some((text, tag)) => (text, name_of_tag(tag)),
            None => (text, None),
        };
        let (text, options) = match text.split_once('?') {
            Some((text, query)) => (text, options(query)),
            None => (text, Vec::new()),
        };
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, text),
        };
        Pieces { user, place, options, name }
    }

    /// The value of an option, unless that says nothing.
    fn option(&self, key: &str) -> Option<&str> {
        let of_key = self.options.iter().filter(|(name, _)| name == key);
        of_key.map(|(_, value)| value.as_str()).find(|value| !value.is_empty())
    }
}

/// The server: `host:port`, and no path.
fn place(text: &str, usual_port: Option<u16>) -> Result<(String, u16), LinkProblem> {
    const WANTED: &str = "host:port, for example ss.example.com:8388 or [2001:db8::1]:8388";
    let (server, path) = text.split_once('/').unwrap_or((text, ""));
    if !path.is_empty() {
        let found = "a path behind the server (is it the address of a subscription?)";
        return Err(LinkProblem::new(found, "a link that ends with the port"));
    }
    let (host, port) = match server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        None => match server.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        },
    };
    if host.contains(':') && !server.starts_with('[') {
        let found = "a server with several colons";
        return Err(LinkProblem::new(found, "IPv6 addresses in brackets: [2001:db8::1]:8388"));
    }
    // What was in base64 may hold anything.
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "@%\\\"#?[]".contains(c);
    if host.is_empty() || host.contains(is_odd) {
        return Err(LinkProblem::new("no server", WANTED));
    }
    let port = match (port, usual_port) {
        (None, Some(usual)) => Some(usual),
        (None, None) => return Err(LinkProblem::new("no port", WANTED)),
        (Some(port), _) => port.parse().ok().filter(|port| *port > 0),
    };
    let port =
        port.ok_or_else(|| LinkProblem::new("a port that is no number from 1 to 65535", WANTED))?;
    Ok((host.to_owned(), port))
}

/// What stands behind `?`. Values may hold anything but `&`.
fn options(query: &str) -> Vec<(String, String)> {
    let text = |part: &str| String::from_utf8_lossy(&percent_decoded(part)).into_owned();
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (text(key).to_ascii_lowercase(), text(value))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// A `+` is a space where no other space is: some write names as forms are written (RFC 1866,
/// 8.2.1), and others have the sign in them.
pub fn name_of_tag(tag: &str) -> Option<String> {
    let is_form = !tag.contains(' ') && !tag.contains("%20");
    let spaced = if is_form { tag.replace('+', " ") } else { tag.to_owned() };
    let decoded = percent_decoded(&spaced);
    fit_name(&String::from_utf8_lossy(&decoded))
}

/// A name that a provider gave, fit for a log: without control characters, and cut. `None`: nothing
/// is left.
pub fn fit_name(text: &str) -> Option<String> {
    let mut name: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    let end = (0..=LONGEST_NAME).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name.truncate(end);
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The canonical form: what [`ShareLink::parse`] reads as the same again. Holds the password.
impl fmt::Display for ShareLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::link(self, f)
    }
}

#[cfg(test)]
mod tests;
