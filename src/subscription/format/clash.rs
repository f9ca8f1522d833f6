//! `proxies` of a Clash file (<https://wiki.metacubex.one/en/config/proxies/>): the shadowsocks,
//! HTTP and SOCKS5 ones.

use super::entry::Fields;
use super::tree::Node;
use super::{BodyEntry, BodyFormat, SubscriptionBody, shown};
use crate::share_link::LinkProblem;
use std::rc::Rc;
use zeroize::Zeroizing;

/// Reads the list.
pub(super) fn read(list: &[Rc<Node>]) -> SubscriptionBody {
    let mut body = SubscriptionBody::new(BodyFormat::Clash);
    for (number, entry) in list.iter().enumerate() {
        body.take(proxy(entry, || format!("proxy {}", number + 1)));
    }
    body
}

fn proxy(entry: &Node, place: impl Fn() -> String) -> BodyEntry {
    let name = entry.text_of("name");
    let unfit = |found: String, accepted: &str| BodyEntry::Unfit {
        name: name.and_then(crate::share_link::fit_name).unwrap_or_else(&place),
        problem: LinkProblem { found, accepted: accepted.into() },
    };
    let Some(kind) = entry.text_of("type") else {
        return unfit("no type".into(), "an entry with a type");
    };
    let (scheme, user) = match kind.to_ascii_lowercase().as_str() {
        "ss" => ("ss", "cipher"),
        "http" if entry.is_on("tls") => ("https", "username"),
        "http" => ("http", "username"),
        "socks5" => ("socks5", "username"),
        _ => {
            return BodyEntry::OtherProtocol {
                protocol: shown(kind).to_lowercase(),
                entry: name.and_then(crate::share_link::fit_name).unwrap_or_else(&place),
            };
        }
    };
    // Without it, what the proxy is told would take another way than the provider meant.
    if let Some(dialer) = entry.text_of("dialer-proxy") {
        return unfit(
            format!("dialer-proxy {:?}, a way through another proxy", shown(dialer)),
            "a proxy that is dialled directly",
        );
    }
    let mut options = Vec::new();
    let on = || Zeroizing::new("1".to_owned());
    match scheme {
        "ss" => match plugin(entry) {
            Ok(plugin) => options.extend(plugin.map(|plugin| ("plugin", plugin))),
            Err(found) => {
                return unfit(found, "obfs and v2ray-plugin, as their programs know them");
            }
        },
        "socks5" if entry.is_on("tls") => options.push(("tls", on())),
        "https" => {
            if entry.is_on("skip-cert-verify") {
                options.push(("skip-cert-verify", on()));
            }
            let name = entry.text_of("sni").or(entry.text_of("servername"));
            options.extend(name.map(|name| ("sni", Zeroizing::new(name.to_owned()))));
        }
        _ => {}
    }
    // UDP over TCP is a protocol of its own: the server may have no other.
    let udp = match entry.is_on("udp-over-tcp") {
        true => Some(false),
        false => entry.yes_or_no("udp"),
    };
    let fields = Fields {
        scheme,
        name,
        server: entry.text_of("server"),
        port: entry.text_of("port"),
        user: entry.text_of(user),
        password: entry.text_of("password"),
        options,
        udp,
    };
    fields.entry(place)
}

/// The plugin as SIP002 has it, with the options that mean the same to the program of that name.
/// What cannot be said so makes the entry unfit.
fn plugin(entry: &Node) -> Result<Option<Zeroizing<String>>, String> {
    let Some(name) = entry.text_of("plugin") else { return Ok(None) };
    let program = match name {
        "obfs" => "obfs-local",
        "v2ray-plugin" => name,
        other => return Err(format!("the plugin {:?}", shown(other))),
    };
    let mut text = Zeroizing::new(program.to_owned());
    let options = match entry.get("plugin-opts") {
        None => &[],
        Some(Node::Map(options)) => options.as_slice(),
        Some(_) => return Err("plugin-opts that are no map".into()),
    };
    for (key, value) in options {
        let unknown = || format!("the option {:?} of the plugin {name}", shown(key));
        let value = value.text().ok_or_else(unknown)?;
        match (program, key.as_str(), value) {
            ("obfs-local", "mode", mode) => add(&mut text, "obfs", Some(mode)),
            ("obfs-local", "host", host) => add(&mut text, "obfs-host", Some(host)),
            ("v2ray-plugin", "mode" | "host" | "path", value) => add(&mut text, key, Some(value)),
            // To the program any value means yes.
            ("v2ray-plugin", "tls", "true") => add(&mut text, "tls", None),
            ("v2ray-plugin", "mux", "false") => add(&mut text, "mux", Some("0")),
            ("v2ray-plugin", "mux", "true") => {}
            (_, _, "false" | "") => {}
            _ => return Err(unknown()),
        }
    }
    Ok(Some(text))
}

/// `;`, `=` and `\` stand behind a backslash (SIP003).
fn add(text: &mut String, key: &str, value: Option<&str>) {
    text.push(';');
    text.push_str(key);
    let Some(value) = value else { return };
    text.push('=');
    for c in value.chars() {
        if matches!(c, ';' | '=' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
}
