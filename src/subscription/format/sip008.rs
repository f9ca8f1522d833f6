//! SIP008 (<https://shadowsocks.org/doc/sip008.html>), as lenient as sslocal: a missing `version`
//! or `id` is no fault. Some programs export the bare list of servers.

use super::entry::Fields;
use super::tree::Node;
use super::{BodyEntry, BodyFormat, SubscriptionBody, Traffic, UnreadableBody, shown};
use crate::share_link::LinkProblem;
use std::rc::Rc;
use zeroize::Zeroizing;

/// Reads a whole document.
pub(super) fn read(root: &Node) -> Result<SubscriptionBody, UnreadableBody> {
    if let Some(version) = root.text_of("version").filter(|version| *version != "1") {
        let version = shown(version);
        return Err(UnreadableBody::new(format!("SIP008 of version {version}, not 1")));
    }
    let list = root.get("servers").and_then(Node::list);
    let list = list.ok_or_else(|| UnreadableBody::new("\"servers\" that is no list"))?;
    let number = |key| root.text_of(key)?.parse().ok();
    let traffic = Traffic { used: number("bytes_used"), remaining: number("bytes_remaining") };
    Ok(SubscriptionBody { traffic, ..servers(list) })
}

/// The keys of a server.
pub(super) const KEYS: [&str; 8] =
    ["server", "server_port", "method", "password", "plugin", "plugin_opts", "remarks", "id"];

/// Whether it is a server by itself, as shadowsocks' own programs have it.
pub(super) fn is_server(root: &Node) -> bool {
    root.get("server").is_some() && root.get("method").is_some()
}

/// Whether a list is one of servers.
pub(super) fn are_servers(list: &[Rc<Node>]) -> bool {
    list.iter().any(|entry| is_server(entry))
}

/// Reads a list of servers.
pub(super) fn servers(list: &[Rc<Node>]) -> SubscriptionBody {
    let mut body = SubscriptionBody::new(BodyFormat::Sip008);
    for (number, entry) in list.iter().enumerate() {
        body.take(server(entry, || format!("server {}", number + 1)));
    }
    body
}

fn server(entry: &Node, place: impl Fn() -> String) -> BodyEntry {
    if !matches!(entry, Node::Map(_)) {
        let problem =
            LinkProblem { found: "something else".into(), accepted: "a server's fields".into() };
        return BodyEntry::Unfit { name: place(), problem };
    }
    let mut options = Vec::new();
    if let Some(plugin) = entry.text_of("plugin") {
        let mut text = Zeroizing::new(plugin.to_owned());
        if let Some(plugin_options) = entry.text_of("plugin_opts") {
            text.push(';');
            text.push_str(plugin_options);
        }
        options.push(("plugin", text));
    }
    let fields = Fields {
        scheme: "ss",
        name: entry.text_of("remarks").or(entry.text_of("id")),
        server: entry.text_of("server"),
        port: entry.text_of("server_port"),
        user: entry.text_of("method"),
        password: entry.text_of("password"),
        options,
        udp: None,
    };
    fields.entry(place)
}
