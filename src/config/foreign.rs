//! Files of other programs that are taken for snet's own, and are named for what they are. Only a
//! text that is no TOML is looked at.

use std::fmt;

/// What a file is instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForeignFile {
    /// SNET's `config.json`.
    Snet,
    /// `config.json` of shadowsocks (ss-redir, ss-local, sslocal), or SIP008.
    Shadowsocks,
    /// A configuration of Clash or mihomo.
    Clash,
    /// A configuration of sing-box.
    SingBox,
    /// One of Xray or V2Ray.
    Xray,
    /// Share links.
    Links,
    /// JSON of nobody we know.
    Json,
}

impl ForeignFile {
    /// Looks at the text, of which nothing has to be whole.
    pub(super) fn of(text: &str) -> Option<Self> {
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with(['{', '[']) && !is_section(text) {
            return Some(Self::of_json(text));
        }
        let begins = |words: &[&str]| {
            text.lines().any(|line| words.iter().any(|word| line.starts_with(word)))
        };
        if begins(&["proxies:", "proxy-groups:", "proxy-providers:", "mixed-port:", "rules:"]) {
            return Some(ForeignFile::Clash);
        }
        let links = ["ss://", "ssr://", "vmess://", "vless://", "trojan://", "socks5://"];
        let first = text.lines().next().unwrap_or_default();
        links.iter().any(|link| first.starts_with(link)).then_some(ForeignFile::Links)
    }

    fn of_json(text: &str) -> Self {
        let has = |keys: &[&str]| keys.iter().any(|key| text.contains(&format!("\"{key}\"")));
        if has(&["proxy-type", "ss-host", "fq-dns", "listen-host"]) {
            ForeignFile::Snet
        } else if has(&["outbounds"]) {
            if has(&["protocol", "streamSettings", "vnext"]) {
                ForeignFile::Xray
            } else {
                ForeignFile::SingBox
            }
        } else if has(&["proxies"]) {
            ForeignFile::Clash
        } else if has(&["server_port", "servers"]) {
            ForeignFile::Shadowsocks
        } else {
            ForeignFile::Json
        }
    }

    /// What to do with it.
    pub(super) fn remedy(self, path: &str) -> String {
        match self {
            ForeignFile::Xray | ForeignFile::Json => OWN.into(),
            _ if cfg!(not(feature = "import")) => OWN.into(),
            _ => format!(
                "snet's own file, in TOML; `snet config import {path}` prints one with what this \
                 file says"
            ),
        }
    }
}

const OWN: &str = "snet's own file, in TOML: config.example.toml has every key";

/// `[dns]` and `[[proxy]]` are TOML's; `["a"]`, `[{` and `[` alone are not.
fn is_section(text: &str) -> bool {
    let name = text.strip_prefix("[[").or_else(|| text.strip_prefix('['));
    let first = name.and_then(|name| name.trim_start_matches([' ', '\t']).chars().next());
    first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

impl fmt::Display for ForeignFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ForeignFile::Snet => "a configuration of SNET, in JSON",
            ForeignFile::Shadowsocks => "a configuration of shadowsocks, in JSON",
            ForeignFile::Clash => "a configuration of Clash or mihomo, in YAML",
            ForeignFile::SingBox => "a configuration of sing-box, in JSON",
            ForeignFile::Xray => "a configuration of Xray or V2Ray, in JSON",
            ForeignFile::Links => "links to proxies",
            ForeignFile::Json => "JSON",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named() {
        for (text, file) in [
            ("{\n \"proxy-type\": \"ss\", }", Some(ForeignFile::Snet)),
            ("\u{feff}{\"cn-dns\": \"\", \"fq-dns\": \"8.8.8.8\"", Some(ForeignFile::Snet)),
            ("{\"server\":\"a\",\"server_port\":1}", Some(ForeignFile::Shadowsocks)),
            ("# mine\nport: 7890\nproxies:\n  - {}", Some(ForeignFile::Clash)),
            ("mixed-port: 7890\n", Some(ForeignFile::Clash)),
            ("{\"log\": {}, \"outbounds\": [{\"type\": \"direct\"}]}", Some(ForeignFile::SingBox)),
            ("{\"outbounds\": [{\"protocol\": \"freedom\"}]}", Some(ForeignFile::Xray)),
            ("ss://YWVzLTI1Ni1nY206cEBzcw@h.example:8388#a", Some(ForeignFile::Links)),
            ("{\"a\": 1}", Some(ForeignFile::Json)),
            ("[dns]\nchina = [", None),
            ("[[proxy]]\nserver = ", None),
            ("[ dns ]\nx", None),
            ("mode = local", None),
            ("", None),
        ] {
            assert_eq!(ForeignFile::of(text), file, "{text}");
        }
    }
}
