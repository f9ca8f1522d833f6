//! SNET's `config.json` (github.com/monsterxx03/snet, config/config.go). Its keys are flat, those
//! of every protocol stand there whether they are used or not, and `proxy-type` chooses.

use super::draft::{DraftValue, ImportDraft};
use crate::config::ProxyConfig;
use crate::config::link;
use crate::config::method;
use crate::config::proxy_text::quoted;
use crate::proxy::credentials::Credentials;
use crate::secret::Secret;
use crate::share_link::{LinkedProtocol, ShareLink};
use crate::subscription::format::json;
use crate::subscription::format::tree::Node;
use std::path::Path;

/// Where SNET listens by default; its DNS port is this and a hundred.
const PORT: u64 = 1111;

/// Keys that say what a proxy is, by their begin.
const OF_PROXIES: [&str; 5] = ["http-proxy-", "ss-", "ss2-", "tls-", "socks5-"];

const ONLY_TOLD_FOR_STATS: [&str; 3] =
    ["stats-port", "stats-enable-tls-sni-sniffer", "stats-enable-http-host-sniffer"];

/// Reads it.
pub(super) fn read(text: &str, folder: &Path) -> Result<ImportDraft, String> {
    let root = json::read(text).map_err(|error| {
        format!("found {}; accepted: SNET's config.json, whole and without comments", error.found)
    })?;
    let Node::Map(entries) = &*root else {
        return Err("found JSON that is no object; accepted: SNET's config.json".into());
    };
    if root.is_on("as-upstream") {
        return Err(
            "found SNET as a server (as-upstream); accepted: SNET's config.json of a client".into(),
        );
    }
    let file = SnetFile { root: &root, folder };
    let mut draft = ImportDraft::new("SNET's config.json");
    file.proxy(&mut draft);
    entries.iter().for_each(|(key, _)| file.key(key, &mut draft));
    Ok(draft)
}

struct SnetFile<'a> {
    root: &'a Node,
    folder: &'a Path,
}

impl<'a> SnetFile<'a> {
    /// The proxy that `proxy-type` chooses; the others are named.
    fn proxy(&self, draft: &mut ImportDraft) {
        let chosen = self.root.text_of("proxy-type").unwrap_or("");
        match self.chosen(chosen) {
            Ok(link) => match link::checked(link) {
                Ok(linked) => {
                    let proxy = ProxyConfig::of_link(linked);
                    if proxy.udp {
                        draft.leave_out(
                            "UDP",
                            "SNET let it go directly; snet sends it through the proxy, which has \
                             to allow it, else write udp = false",
                        );
                    }
                    draft.proxies.push(proxy);
                }
                Err((_, problem)) => {
                    draft.leave_out(&format!("{chosen}-..."), &problem.to_string())
                }
            },
            Err(why) => draft.leave_out("proxy-type", &why),
        }
        for begin in OF_PROXIES.iter().filter(|begin| **begin != begin_of(chosen)) {
            if let Some(host) = self.root.text_of(&format!("{begin}host")) {
                let why = format!("not used by SNET, since proxy-type is {chosen:?}");
                draft.leave_out(&format!("{begin}host {host:?}"), &why);
            }
        }
    }

    fn chosen(&self, kind: &str) -> Result<ShareLink, String> {
        let begin = begin_of(kind);
        let of = |name: &str| self.root.text_of(&format!("{begin}{name}"));
        let protocol = match kind {
            "ss" | "ss2" => self.shadowsocks(kind)?,
            "http" => LinkedProtocol::Http { credentials: credentials(&of) },
            "socks5" => LinkedProtocol::Socks5 { credentials: credentials(&of) },
            "tls" => {
                let why = "\"tls\" is a protocol of SNET's own, which snet does not speak; the \
                           server needs shadowsocks, SOCKS5 or an HTTP proxy";
                return Err(why.into());
            }
            "" => return Err("it is missing, so no proxy is chosen".into()),
            other => return Err(format!("{other:?} is none of SNET's")),
        };
        let host = of("host").ok_or_else(|| format!("{begin}host is missing"))?;
        let port = of("port").and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        let port = port.ok_or_else(|| format!("{begin}port is no port"))?;
        Ok(ShareLink { name: None, host: host.to_owned(), port, protocol })
    }

    fn shadowsocks(&self, kind: &str) -> Result<LinkedProtocol, String> {
        // One name of each pair is a slip that SNET's own files and README have.
        let (methods, passwords) = match kind {
            "ss" => (["ss-cipher-method", "ss-chpier-method"], ["ss-passwd", "ss-password"]),
            _ => (["ss2-cipher-method", "ss2-chpier-method"], ["ss2-passwd", "ss2-password"]),
        };
        if kind == "ss2" && self.root.text_of("ss2-key").is_some() {
            return Err(
                "ss2-key is a key in the place of a password, which snet cannot take".into()
            );
        }
        let first = |names: [&str; 2]| names.iter().find_map(|name| self.root.text_of(name));
        let name = first(methods).ok_or_else(|| format!("{} is missing", methods[0]))?;
        let password = first(passwords).ok_or_else(|| format!("{} is missing", passwords[0]))?;
        let method = match method::of_other_name(name) {
            Some(method) => method.name().to_owned(),
            None => name.to_ascii_lowercase(),
        };
        Ok(LinkedProtocol::Shadowsocks { method, password: Secret::new(password), plugin: None })
    }

    /// Every key ends in a key of snet's, in a line of the comment, or means what snet does anyway.
    fn key(&self, key: &str, draft: &mut ImportDraft) {
        let text = self.root.text_of(key);
        let number = text.and_then(|text| text.parse::<u64>().ok());
        let is_on = self.root.is_on(key);
        match key {
            "as-upstream" | "proxy-type" => {}
            _ if OF_PROXIES.iter().any(|begin| key.starts_with(begin)) => {}
            "mode" => match text {
                None | Some("local") => {}
                Some("router") => draft.set("", "mode", "router", key),
                Some(other) => draft.leave_out(key, &format!("{other:?} is no mode of snet's")),
            },
            "proxy-scope" => match text {
                None | Some("bypassCN") => {}
                Some("global") => draft.set("", "scope", "global", key),
                Some(other) => draft.leave_out(key, &format!("{other:?} is no scope of snet's")),
            },
            "listen-host" => self.listen_host(key, text, draft),
            "listen-port" => match number {
                Some(0) | None if text.is_none_or(|text| text == "0") => {}
                Some(port) if port == PORT => {}
                None => draft.leave_out(key, "it is no port"),
                Some(port) => {
                    let (tcp, dns) = (port.to_string(), port.saturating_add(100).to_string());
                    draft.put("listen", "tcp-port", DraftValue::One(tcp), key);
                    draft.put("listen", "dns-port", DraftValue::One(dns), key);
                }
            },
            "bypass-hosts" => self.names(key, "direct", draft),
            "bypass-src-ips" => {
                let sources = self.list(key, draft);
                draft.set_list("rules", "direct-sources", &sources, key);
            }
            "force-fq" => self.names(key, "proxy", draft),
            "block-hosts" => self.names(key, "block", draft),
            "block-host-file" => {
                if let Some(path) = text {
                    let path = self.folder.join(path).display().to_string();
                    draft.set("rules", "block-domain-file", &path, key);
                }
            }
            "cn-dns" => draft.set_list("dns", "china", &self.texts(text), key),
            "fq-dns" => draft.set_list("dns", "trusted", &self.texts(text), key),
            "enable-dns-cache" => {
                if self.root.yes_or_no(key) == Some(false) {
                    draft.set("dns", "cache-size", "0", key);
                }
            }
            "enforce-ttl" => {
                if let Some(seconds) = number.filter(|seconds| *seconds > 0) {
                    for name in ["min-ttl", "max-ttl"] {
                        draft.set("dns", name, &format!("{seconds}s"), key);
                    }
                }
            }
            "disable-qtypes" => {
                let types = self.list(key, draft);
                draft.set_list("dns", "block-types", &types, key);
            }
            "host-map" => self.host_map(key, draft),
            "dns-logging-file" => {
                if text.is_some() {
                    let value = DraftValue::One("true".into());
                    draft.put("dns", "log-queries", value, key);
                    draft.leave_out(
                        key,
                        "log-queries = true writes into snet's log, no file of its own",
                    );
                }
            }
            _ => self.left_out(key, is_on, text, draft),
        }
    }

    fn left_out(&self, key: &str, is_on: bool, text: Option<&str>, draft: &mut ImportDraft) {
        let has_stats = self.root.is_on("enable-stats");
        match key {
            "proxy-timeout" => {
                if text.is_some_and(|seconds| seconds != "30" && seconds != "0") {
                    draft.leave_out(
                        key,
                        "snet ends no quiet connection; connect-timeout is for the dial",
                    );
                }
            }
            "dns-prefetch-enable" => {
                if is_on {
                    draft
                        .leave_out(key, "snet asks when it is asked; dns.cache-file keeps answers");
                }
            }
            "dns-prefetch-count" | "dns-prefetch-interval" => {}
            "enable-stats" => {
                if is_on {
                    draft.leave_out(
                        key,
                        "control.http with a secret-file serves /stats; `snet top` needs neither",
                    );
                }
            }
            "stats-port" => {
                if has_stats {
                    draft.leave_out(key, "control.http names address and port");
                }
            }
            _ if ONLY_TOLD_FOR_STATS.contains(&key) => {
                if has_stats && is_on {
                    draft.leave_out(key, "rules.sniff, which is on by default, does that");
                }
            }
            "active-eni" => {
                if text.is_some() {
                    draft.leave_out(key, "it is for macOS");
                }
            }
            _ if key.starts_with("upstream-") => {
                if key == "upstream-type" {
                    draft.leave_out("upstream-...", "they are for SNET as a server");
                }
            }
            unknown => draft.leave_out(unknown, "neither SNET nor snet knows this key"),
        }
    }

    fn listen_host(&self, key: &str, text: Option<&str>, draft: &mut ImportDraft) {
        let Some(host) = text else { return };
        match self.root.text_of("mode") {
            Some("router") if host == "0.0.0.0" => {}
            Some("router") => draft.leave_out(
                &format!("{key} {host:?}"),
                "in router mode snet listens on all addresses and turns away who is not of the LAN",
            ),
            _ if host == "127.0.0.1" => {}
            _ => draft.set_list("listen", "address", &[host.to_owned()], key),
        }
    }

    fn host_map(&self, key: &str, draft: &mut ImportDraft) {
        let hosts = match self.root.get(key) {
            None => return,
            Some(Node::Map(hosts)) => hosts,
            Some(_) => return draft.leave_out(key, "it is no map of names"),
        };
        for (name, address) in hosts {
            let from = format!("{key} {name:?}");
            match address.text() {
                Some(address) => {
                    let name = quoted(name.as_bytes());
                    draft.set("dns.hosts", &name, address, &from);
                }
                None => draft.leave_out(&from, "its value is no text"),
            }
        }
    }

    /// The texts of a list.
    fn list(&self, key: &str, draft: &mut ImportDraft) -> Vec<String> {
        let Some(value) = self.root.get(key) else { return Vec::new() };
        let list = value.list().unwrap_or_default();
        let texts: Vec<String> =
            list.iter().filter_map(|node| node.text()).map(str::to_owned).collect();
        if value.list().is_none() || texts.len() < list.len() {
            draft.leave_out(key, "it is no list of texts, or not all of it is");
        }
        texts
    }

    /// Patterns for names, as rules of snet's: a domain covers what is beneath it.
    fn names(&self, key: &str, rule: &str, draft: &mut ImportDraft) {
        let bare = |text: String| match text.strip_prefix("*.") {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        let names: Vec<String> = self.list(key, draft).into_iter().map(bare).collect();
        draft.set_list("rules", rule, &names, key);
    }

    fn texts(&self, text: Option<&str>) -> Vec<String> {
        text.into_iter().map(str::to_owned).collect()
    }
}

/// What the keys of a protocol begin with.
fn begin_of(kind: &str) -> &'static str {
    match kind {
        "http" => "http-proxy-",
        "ss" => "ss-",
        "ss2" => "ss2-",
        "tls" => "tls-",
        "socks5" => "socks5-",
        _ => "",
    }
}

fn credentials<'a>(of: &impl Fn(&str) -> Option<&'a str>) -> Option<Credentials> {
    let username = of("auth-user")?.to_owned();
    let password = Secret::new(of("auth-password").unwrap_or_default());
    Some(Credentials { username, password })
}
