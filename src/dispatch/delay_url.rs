//! What a test of a proxy fetches.
//!
//! The URL comes from outside (a dashboard), and the request leaves from here. So it never names
//! what is near: a proxy on this machine, or in this network, would carry it there.

use crate::ipset::reserved;
use crate::target::Target;
use http::Uri;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A longer one is none.
const LONGEST: usize = 2048;

const WANTED: &str = "a URL like https://www.gstatic.com/generate_204 (or http://), of a public \
                      host, without a user name";

/// A URL of a public host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelayUrl {
    /// TLS, with a certificate that is valid for the host.
    pub(super) is_https: bool,
    /// A name or an address, without brackets.
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// As the request says it (RFC 9112, 3.2).
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: String,
}

impl DelayUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What was found, and what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = || {
            let shown: String = text.chars().filter(|it| !it.is_control()).take(100).collect();
            format!("found {shown:?}; accepted: {WANTED}")
        };
        if text.len() > LONGEST {
            return Err(refused());
        }
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refused()),
        };
        let authority = uri.authority().ok_or_else(refused)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let has_port = authority.as_str().len() > authority.host().len();
        let port = authority.port_u16().or((!has_port).then_some(if is_https { 443 } else { 80 }));
        let port = port.filter(|port| *port > 0).ok_or_else(refused)?;
        if host.is_empty() || authority.as_str().contains('@') || is_near(host) {
            return Err(refused());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let begin = if path.starts_with('/') { "" } else { "/" };
        Ok(DelayUrl {
            is_https,
            host: host.to_ascii_lowercase().as_str().into(),
            port,
            authority: authority.as_str().to_owned(),
            path: format!("{begin}{path}"),
        })
    }

    /// What a proxy is asked for.
    pub(super) fn target(&self) -> Target {
        match self.host.parse() {
            Ok(ip) => Target::addr(SocketAddr::new(ip, self.port)),
            Err(_) => Target::Name((&*self.host).into(), self.port),
        }
    }

    /// A name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Whether it is surely not a host of the internet. Forms of an address that only some programs
/// read (`0x7f.1`, `2130706433`) are no names either: the last label of those is never a number.
fn is_near(host: &str) -> bool {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return is_local(ip);
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.strip_prefix("0x").map_or_else(
        || last.bytes().all(|it| it.is_ascii_digit()),
        |hex| hex.bytes().all(|it| it.is_ascii_hexdigit()),
    );
    let is_special =
        ["localhost", "local", "internal", "lan", "home", "arpa", "test"].contains(&last);
    // What is no name, an address with a zone for one (`::1.2.3.4%1`), is read by the proxy, if at
    // all, as it likes.
    let is_name = host.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it));
    !host.contains('.') || is_number || is_special || !is_name
}

/// Whether an address is this machine's, or of a network that is not the internet.
pub fn is_local(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    reserved().contains(ip) || crate::net::is_own(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_public_host() {
        let url = DelayUrl::parse("https://www.gstatic.com/generate_204").unwrap();
        assert!(url.is_https);
        assert_eq!((&*url.host, url.port), ("www.gstatic.com", 443));
        assert_eq!(
            (url.authority.as_str(), url.path.as_str()),
            ("www.gstatic.com", "/generate_204")
        );
        let url = DelayUrl::parse("http://203.0.113.9:8080?a=b").unwrap();
        assert_eq!(url.target(), Target::addr("203.0.113.9:8080".parse().unwrap()));
        assert_eq!((url.is_https, url.path.as_str()), (false, "/?a=b"));
        let url = DelayUrl::parse("http://[2001:db8::1]/").unwrap();
        assert_eq!((&*url.host, url.authority.as_str()), ("2001:db8::1", "[2001:db8::1]"));
    }

    #[test]
    fn what_is_near_is_no_host() {
        for near in [
            "127.0.0.1",
            "127.0.0.1:9090",
            "[::1]:9090",
            "[::ffff:127.0.0.1]",
            "[::ffff:127.0.0.1%1]:9090",
            "[::ffff:192.168.1.1%251]",
            "0.0.0.0",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "[fe80::1]",
            "[fd00::1]",
            "localhost",
            "localhost.",
            "LOCALHOST:80",
            "a.localhost",
            "router",
            "router.lan",
            "nas.local",
            "2130706433",
            "0x7f000001",
            "127.1",
            "0x7f.1",
            "1.168.192.in-addr.arpa",
        ] {
            let said = DelayUrl::parse(&format!("http://{near}/"));
            assert!(said.as_ref().is_err_and(|it| it.contains("accepted: ")), "{near}: {said:?}");
        }
    }

    #[test]
    fn what_is_no_url() {
        for wrong in [
            "",
            "www.gstatic.com",
            "ftp://example.com/",
            "file:///etc/passwd",
            "http://",
            "http://me@example.com/",
            "http://me:secret@example.com/",
            "http://example.com:0/",
            "http://example.com:99999/",
            "http://example.com:x/",
            "http://example.com/a b",
            "http://example.com/\r\nHost: other",
            "//example.com/",
        ] {
            assert!(DelayUrl::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(DelayUrl::parse(&format!("http://example.com/{}", "a".repeat(LONGEST))).is_err());
    }
}
