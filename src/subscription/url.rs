//! Where a provider has its body. Path and query hold the customer's token: they are never shown.

use crate::secret::Secret;
use http::Uri;
use std::fmt;

/// A longer one is none.
const LONGEST: usize = 4096;

const WANTED: &str = "a URL that begins with https:// (or http://), as the provider gave it";

/// An address of a body. `Debug` and `Display` show scheme and server.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderUrl {
    /// TLS, with a certificate that is valid for the host.
    pub is_https: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Not 0.
    pub port: u16,
    /// Path and query.
    path: Secret,
}

impl ProviderUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What was found instead (never a secret), and what is accepted.
    pub fn parse(text: &str) -> Result<Self, (&'static str, &'static str)> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(("a URL of more than 4096 bytes", WANTED));
        }
        // What is behind it is for the reader (RFC 9110, 4.2.5).
        let text = text.split('#').next().unwrap_or_default();
        let no_url = ("a text that is no URL", WANTED);
        if !text.is_ascii() {
            let accepted = "a URL of ASCII characters: others in percent-encoding, a host in \
                            punycode";
            return Err(("a URL with other characters than ASCII", accepted));
        }
        let uri: Uri = text.parse().map_err(|_| no_url)?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(("a URL of another protocol", WANTED)),
            None => return Err(no_url),
        };
        let authority = uri.authority().ok_or(no_url)?;
        if authority.as_str().contains('@') {
            return Err(("a URL with a user name", "a URL without one"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let has_port = authority.as_str().len() > authority.host().len();
        if host.is_empty() || port == 0 || has_port && authority.port_u16().is_none() {
            return Err(no_url);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let begin = if path.starts_with('/') { "" } else { "/" };
        let path = Secret::new(format!("{begin}{path}"));
        Ok(ProviderUrl { is_https, host, port, path })
    }

    /// What the request line says (RFC 9112, 3.2.1).
    pub(super) fn target(&self) -> &[u8] {
        self.path.expose()
    }

    /// The server as `Host` has it: without the usual port.
    pub(super) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.is_https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Where a redirection leads (RFC 3986, 5.2).
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    #[cfg_attr(not(any(feature = "tls", test)), expect(dead_code, reason = "fetching has it"))]
    pub(super) fn joined(&self, location: &str) -> Result<Self, (&'static str, &'static str)> {
        let scheme = if self.is_https { "https" } else { "http" };
        let has_scheme = location.split(['/', '?', '#']).next().is_some_and(|it| it.contains(':'));
        if has_scheme {
            return ProviderUrl::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return ProviderUrl::parse(&format!("{scheme}://{rest}"));
        }
        let authority = self.authority();
        let path = String::from_utf8_lossy(self.target()).into_owned();
        let path = path.split('?').next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        match location.chars().next() {
            Some('/') => ProviderUrl::parse(&format!("{scheme}://{authority}{location}")),
            Some('?') => ProviderUrl::parse(&format!("{scheme}://{authority}{path}{location}")),
            _ => ProviderUrl::parse(&format!("{scheme}://{authority}{folder}/{location}")),
        }
    }

    /// Tells whether a kept body is this address's, without telling the address.
    pub(super) fn fingerprint(&self) -> String {
        let whole = [self.to_string().as_bytes(), self.target()].concat();
        blake3::hash(&whole).to_hex()[..32].to_owned()
    }
}

impl fmt::Display for ProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}/...", self.authority())
    }
}

impl fmt::Debug for ProviderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProviderUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &ProviderUrl) -> String {
        let path = String::from_utf8_lossy(url.target()).into_owned();
        format!("{} {} {} {path}", url.is_https, url.host, url.port)
    }

    #[test]
    fn urls() {
        for (text, expected) in [
            ("https://p.example/sub?token=a", "true p.example 443 /sub?token=a"),
            (" http://p.example:8080#mine ", "false p.example 8080 /"),
            ("https://[2001:db8::1]:8443/a", "true 2001:db8::1 8443 /a"),
            ("HTTPS://P.example?a=b", "true P.example 443 /?a=b"),
        ] {
            assert_eq!(ProviderUrl::parse(text).map(|url| parts(&url)), Ok(expected.into()));
        }
        for (text, expected) in [
            ("", "a text that is no URL"),
            ("p.example/sub", "a text that is no URL"),
            ("/sub", "a text that is no URL"),
            ("ftp://p.example/", "a URL of another protocol"),
            ("https://me:hunter2@p.example/", "a URL with a user name"),
            ("https://p.example:99999/", "a text that is no URL"),
            ("https://p.example:0/", "a text that is no URL"),
            ("https://p.example/订阅", "a URL with other characters than ASCII"),
            ("https://p.example/a b", "a text that is no URL"),
        ] {
            assert_eq!(ProviderUrl::parse(text).unwrap_err().0, expected, "{text}");
        }
    }

    #[test]
    fn no_token_is_shown() {
        let url = ProviderUrl::parse("https://p.example:8443/hunter2?token=hunter2").unwrap();
        assert_eq!(format!("{url} {url:?}").matches("hunter2").count(), 0);
        assert_eq!(url.to_string(), "https://p.example:8443/...");
        let other = ProviderUrl::parse("https://p.example:8443/hunter2?token=hunter3").unwrap();
        assert_ne!(url.fingerprint(), other.fingerprint());
        assert_eq!(url.fingerprint().len(), 32);
    }

    #[test]
    fn redirections() {
        let url = ProviderUrl::parse("https://p.example:8443/a/b?c=d").unwrap();
        for (location, expected) in [
            ("https://q.example/x", "true q.example 443 /x"),
            ("http://q.example/x", "false q.example 80 /x"),
            ("//q.example/x", "true q.example 443 /x"),
            ("/x?y", "true p.example 8443 /x?y"),
            ("x", "true p.example 8443 /a/x"),
            ("?x", "true p.example 8443 /a/b?x"),
            ("/x?u=http://y", "true p.example 8443 /x?u=http://y"),
        ] {
            assert_eq!(url.joined(location).map(|url| parts(&url)), Ok(expected.into()));
        }
        assert!(url.joined("ftp://q.example").is_err());
    }
}
