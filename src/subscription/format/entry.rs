//! An entry of any format, by way of the link that means the same.

use super::{BodyEntry, ELSEWHERE, ProvidedProxy, information};
use crate::share_link::encoding::percent_encoded;
use crate::share_link::{LinkProblem, LinkedProtocol, ShareLink};
use std::fmt::Write;
use zeroize::Zeroizing;

/// Schemes of links that mean a proxy snet could be told of.
pub(super) const PROXY_SCHEMES: [&str; 6] = ["ss", "http", "https", "socks", "socks5", "socks5h"];

/// What a link is. `place` says where it stands, if it has no name.
pub(super) fn of_link(text: &str, udp: Option<bool>, place: impl Fn() -> String) -> BodyEntry {
    match ShareLink::parse(text) {
        Ok(link) if information::is_nowhere(&link.host) => {
            let name = link.name.clone();
            match name.as_deref().and_then(information::of) {
                Some(note) => BodyEntry::Information(note.to_owned()),
                None => BodyEntry::Unfit {
                    name: name.unwrap_or_else(&place),
                    problem: LinkProblem {
                        found: format!("the server {:?}", link.host),
                        accepted: ELSEWHERE.into(),
                    },
                },
            }
        }
        Ok(link) => match check_plugin(&link) {
            Ok(has_plugin) => {
                // It would go past the plugin, which only the operator may want.
                let udp = udp.filter(|udp| !udp || !has_plugin);
                BodyEntry::Proxy(ProvidedProxy { link, udp })
            }
            Err(problem) => {
                let name = link.name.unwrap_or_else(&place);
                BodyEntry::Unfit { name, problem }
            }
        },
        Err(problem) => {
            let name = text.split_once('#').map(|(_, tag)| tag);
            let name = name.and_then(crate::share_link::name_of_tag).unwrap_or_else(&place);
            BodyEntry::Unfit { name, problem }
        }
    }
}

/// Whether there is one. It is a program of this machine, and not the operator's choice here.
fn check_plugin(link: &ShareLink) -> Result<bool, LinkProblem> {
    let LinkedProtocol::Shadowsocks { plugin: Some(plugin), .. } = &link.protocol else {
        return Ok(false);
    };
    let unfit = |(found, accepted)| LinkProblem { found, accepted };
    plugin.check_provided().map(|()| true).map_err(unfit)
}

/// The fields of an entry that is written in another form.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) scheme: &'static str,
    pub(super) name: Option<&'a str>,
    pub(super) server: Option<&'a str>,
    pub(super) port: Option<&'a str>,
    /// The method of shadowsocks, or the user name.
    pub(super) user: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    /// Not encoded.
    pub(super) options: Vec<(&'static str, Zeroizing<String>)>,
    pub(super) udp: Option<bool>,
}

impl Fields<'_> {
    /// What the link of the same meaning is.
    pub(super) fn entry(&self, place: impl Fn() -> String) -> BodyEntry {
        match self.link() {
            Ok(link) => of_link(&link, self.udp, place),
            Err((found, accepted)) => {
                let name = self.name.and_then(crate::share_link::fit_name).unwrap_or_else(place);
                let problem = LinkProblem { found: found.into(), accepted: accepted.into() };
                BodyEntry::Unfit { name, problem }
            }
        }
    }

    fn link(&self) -> Result<Zeroizing<String>, (&'static str, &'static str)> {
        let server = self.server.ok_or(("no server", "a host name or address"))?;
        let port = self.port.ok_or(("no port", "a number from 1 to 65535"))?;
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(("a port that is no number", "a number from 1 to 65535"));
        }
        let host = server.trim_start_matches('[').trim_end_matches(']');
        // None of these can be in a host; left there, one would cut the link elsewhere.
        if host.contains(|c: char| c.is_whitespace() || "/?#@%\\[]".contains(c)) {
            return Err(("a server that is no host", "a host name or address"));
        }
        let user = match (self.scheme, self.user) {
            ("ss", None) => return Err(("no method", "the method of shadowsocks")),
            ("ss", Some(method)) if method.contains(':') => {
                return Err(("a method with a colon", "the method of shadowsocks"));
            }
            ("ss", _) if self.password.is_none() => {
                return Err(("no password", "the password of shadowsocks"));
            }
            (_, user) => percent_encoded(user.unwrap_or_default().as_bytes()),
        };
        let password = percent_encoded(self.password.unwrap_or_default().as_bytes());
        let mut link = Zeroizing::new(format!("{}://", self.scheme));
        // A String takes every write.
        if !user.is_empty() || !password.is_empty() {
            let _ = write!(link, "{}:{}@", *user, *password);
        }
        let _ = match host.contains(':') {
            true => write!(link, "[{host}]:{port}"),
            false => write!(link, "{host}:{port}"),
        };
        for (number, (key, value)) in self.options.iter().enumerate() {
            let begin = if number == 0 { '?' } else { '&' };
            let _ = write!(link, "{begin}{key}={}", *percent_encoded(value.as_bytes()));
        }
        if let Some(name) = self.name {
            let _ = write!(link, "#{}", *percent_encoded(name.as_bytes()));
        }
        Ok(link)
    }
}
