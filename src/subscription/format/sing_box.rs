//! `outbounds` of a sing-box file (<https://sing-box.sagernet.org/configuration/outbound/>): the
//! shadowsocks, HTTP and SOCKS5 ones.

use super::entry::Fields;
use super::tree::Node;
use super::{BodyEntry, BodyFormat, SubscriptionBody, shown};
use crate::share_link::LinkProblem;
use std::rc::Rc;
use zeroize::Zeroizing;

/// Keys that say how TLS has to be, and that no key of snet's says.
const OTHER_TLS: [&str; 5] =
    ["disable_sni", "certificate", "certificate_path", "certificate_public_key_sha256", "reality"];

/// Reads the list.
pub(super) fn read(list: &[Rc<Node>]) -> SubscriptionBody {
    let mut body = SubscriptionBody::new(BodyFormat::SingBox);
    for (number, entry) in list.iter().enumerate() {
        body.take(outbound(entry, || format!("outbound {}", number + 1)));
    }
    body
}

/// Whether a list is one of Xray or V2Ray, which have outbounds of their own.
pub(super) fn are_of_xray(list: &[Rc<Node>]) -> bool {
    list.iter().any(|entry| entry.get("protocol").is_some() && entry.get("type").is_none())
}

fn outbound(entry: &Node, place: impl Fn() -> String) -> BodyEntry {
    let name = entry.text_of("tag");
    let Some(kind) = entry.text_of("type") else {
        return unfit(name, place, "no type".into(), "an outbound with a type");
    };
    let tls = entry.get("tls").filter(|tls| tls.is_on("enabled"));
    let scheme = match kind.to_ascii_lowercase().as_str() {
        "shadowsocks" => "ss",
        "http" if tls.is_some() => "https",
        "http" => "http",
        "socks" => "socks5",
        _ => {
            return BodyEntry::OtherProtocol {
                protocol: shown(kind).to_lowercase(),
                entry: name.and_then(crate::share_link::fit_name).unwrap_or_else(&place),
            };
        }
    };
    if let Err((found, accepted)) = check(entry, scheme, tls) {
        return unfit(name, place, found, accepted);
    }
    let mut options = Vec::new();
    if let Some(plugin) = entry.text_of("plugin").filter(|_| scheme == "ss") {
        let mut text = Zeroizing::new(plugin.to_owned());
        if let Some(plugin_options) = entry.text_of("plugin_opts") {
            text.push(';');
            text.push_str(plugin_options);
        }
        options.push(("plugin", text));
    }
    if let Some(tls) = tls.filter(|_| scheme == "https") {
        if tls.is_on("insecure") {
            options.push(("skip-cert-verify", Zeroizing::new("1".to_owned())));
        }
        let server_name = tls.text_of("server_name");
        options.extend(server_name.map(|name| ("sni", Zeroizing::new(name.to_owned()))));
    }
    let is_tcp_only = entry.text_of("network") == Some("tcp");
    let over_tcp = entry.get("udp_over_tcp");
    let over_tcp = entry.is_on("udp_over_tcp") || over_tcp.is_some_and(|it| it.is_on("enabled"));
    let fields = Fields {
        scheme,
        name,
        server: entry.text_of("server"),
        port: entry.text_of("server_port"),
        user: entry.text_of(if scheme == "ss" { "method" } else { "username" }),
        password: entry.text_of("password"),
        options,
        // UDP over TCP is a protocol of its own: the server may have no other.
        udp: (is_tcp_only || over_tcp).then_some(false),
    };
    fields.entry(place)
}

/// What it asks for has to be what snet does: what was left out would be missed.
fn check(entry: &Node, scheme: &str, tls: Option<&Node>) -> Result<(), (String, &'static str)> {
    // Without it, what the proxy is told would take another way than was meant.
    if let Some(detour) = entry.text_of("detour") {
        let found = format!("detour {:?}, a way through another outbound", shown(detour));
        return Err((found, "a proxy that is dialled directly"));
    }
    if scheme == "socks5" && entry.text_of("version").is_some_and(|version| version != "5") {
        return Err(("SOCKS4".into(), "version 5"));
    }
    if let Some(tls) = tls
        && let Some(key) = OTHER_TLS.iter().find(|key| {
            let value = tls.get(key);
            value.is_some() && tls.yes_or_no(key) != Some(false)
        })
    {
        return Err((format!("tls.{key}"), "TLS as snet has it: tls-ca-file, tls-pin"));
    }
    if tls.is_some() && scheme != "https" {
        return Err(("TLS".into(), "only HTTP proxies over TLS"));
    }
    if let Some(key) = ["path", "headers"].iter().find(|key| entry.get(key).is_some())
        && scheme.starts_with("http")
    {
        return Err((format!("{key} of an HTTP proxy"), "a proxy that needs none"));
    }
    Ok(())
}

fn unfit(
    name: Option<&str>,
    place: impl Fn() -> String,
    found: String,
    accepted: &str,
) -> BodyEntry {
    let name = name.and_then(crate::share_link::fit_name).unwrap_or_else(place);
    BodyEntry::Unfit { name, problem: LinkProblem { found, accepted: accepted.into() } }
}
