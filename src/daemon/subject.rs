//! What `snet explain` is asked about, as it is typed.

use crate::domain::Name;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A name.
    Name(Name),
    /// An address, with the port where one was given.
    Address(IpAddr, Option<u16>),
}

/// It is neither.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {0:?}; accepted: a name (www.example.com), an address (203.0.113.1, 2001:db8::1), \
     either with a port (203.0.113.1:443, [2001:db8::1]:443), or a URL"
)]
pub struct NoSubject(String);

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, NoSubject> {
        let no_subject = || NoSubject(text.to_owned());
        let text = text.trim();
        // Of a URL only the host matters.
        let (is_url, rest) = match text.split_once("://") {
            Some((_, rest)) => (true, rest),
            None => (false, text),
        };
        let host = if is_url { rest.split(['/', '?', '#']).next().unwrap_or(rest) } else { rest };
        let host = if is_url { host.rsplit('@').next().unwrap_or(host) } else { host };
        if let Ok(address) = host.parse::<SocketAddr>() {
            return Ok(Subject::Address(address.ip().to_canonical(), Some(address.port())));
        }
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Subject::Address(address.to_canonical(), None));
        }
        let name = match host.rsplit_once(':') {
            Some((name, port)) => port.parse::<u16>().map(|_| name).map_err(|_| no_subject())?,
            None => host,
        };
        match name.parse::<Name>() {
            Ok(name) if name != Name::root() => Ok(Subject::Name(name)),
            _ => Err(no_subject()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Name(name) => write!(f, "{name}"),
            Subject::Address(ip, None) => write!(f, "{ip}"),
            Subject::Address(ip, Some(port)) => write!(f, "{}", SocketAddr::new(*ip, *port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_about() {
        let name = |text: &str| Ok(Subject::Name(text.parse().unwrap()));
        let address = |text: &str, port| Ok(Subject::Address(text.parse().unwrap(), port));
        for (text, expected) in [
            ("www.example.com", name("www.example.com")),
            ("WWW.example.com.", name("www.example.com")),
            ("example.com:8443", name("example.com")),
            ("https://user@example.com:8443/a?b#c", name("example.com")),
            ("203.0.113.1", address("203.0.113.1", None)),
            ("203.0.113.1:53", address("203.0.113.1", Some(53))),
            ("2001:db8::1", address("2001:db8::1", None)),
            ("[2001:db8::1]", address("2001:db8::1", None)),
            ("[2001:db8::1]:443", address("2001:db8::1", Some(443))),
            ("::ffff:203.0.113.1", address("203.0.113.1", None)),
            ("http://203.0.113.1/", address("203.0.113.1", None)),
        ] {
            assert_eq!(text.parse::<Subject>(), expected, "{text}");
        }
        for text in ["", ".", "a b", "example.com:port", "-", "https://"] {
            assert!(text.parse::<Subject>().is_err() || text == "-", "{text}");
        }
    }
}
