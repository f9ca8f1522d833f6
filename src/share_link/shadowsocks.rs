//! `ss://` links (SIP002, <https://shadowsocks.org/doc/sip002.html>).
//!
//! The user part is `method:password`, in base64 or percent-encoded. No alphabet of base64 has a
//! colon, so one tells the two apart. Before SIP002 everything was in base64, the server too.

use super::encoding::{base64_decoded, percent_decoded};
use super::{LinkProblem, LinkedProtocol, Pieces, ShareLink, options, place};
use crate::plugin::spec::PluginSpec;
use crate::secret::Secret;

/// What shadowsocks-rust takes a link without a port for.
const USUAL_PORT: u16 = 8388;

const WANTED: &str = "ss://method:password@host:port with method:password in base64 or \
                      percent-encoded (%23 for \"#\", %3F for \"?\")";

pub(super) fn parse(pieces: &Pieces<'_>) -> Result<ShareLink, LinkProblem> {
    let plugin = plugin(pieces)?;
    let Some(user) = pieces.user else { return in_one_piece(pieces, plugin) };
    let plain = percent_decoded(user);
    let (host, port) = place(pieces.place, Some(USUAL_PORT))?;
    let protocol = match plain.contains(&b':') {
        true => protocol(&plain, plugin)?,
        false => {
            let decoded = base64_decoded(&plain).ok_or_else(|| {
                LinkProblem::new("neither method:password nor base64 before the server", WANTED)
            })?;
            protocol(&decoded, plugin)?
        }
    };
    Ok(ShareLink { name: pieces.name.clone(), host, port, protocol })
}

/// The form before SIP002: `method:password@host:port`, all of it in base64.
fn in_one_piece(
    pieces: &Pieces<'_>,
    outside: Option<PluginSpec>,
) -> Result<ShareLink, LinkProblem> {
    let no_link = || LinkProblem::new("no method and password", WANTED);
    let encoded = percent_decoded(pieces.place);
    // base64 has a "/" too, but none at the end of what ends with a digit: that is a path.
    let encoded = encoded.strip_suffix(b"/").unwrap_or(&encoded);
    let decoded = base64_decoded(encoded).ok_or_else(no_link)?;
    let at = decoded.iter().rposition(|byte| *byte == b'@').ok_or_else(no_link)?;
    let server = std::str::from_utf8(&decoded[at + 1..]).map_err(|_| no_link())?;
    let (server, query) = server.split_once('?').unwrap_or((server, ""));
    let inside = plugin(&Pieces { user: None, place: "", options: options(query), name: None })?;
    let (host, port) = place(server, Some(USUAL_PORT))?;
    let protocol = protocol(&decoded[..at], inside.or(outside))?;
    Ok(ShareLink { name: pieces.name.clone(), host, port, protocol })
}

/// `method:password`; passwords may have colons.
fn protocol(text: &[u8], plugin: Option<PluginSpec>) -> Result<LinkedProtocol, LinkProblem> {
    let no_method = || LinkProblem::new("no method before the password", WANTED);
    let colon = text.iter().position(|byte| *byte == b':').ok_or_else(no_method)?;
    let (method, password) = (&text[..colon], &text[colon + 1..]);
    let is_word = (1..=40).contains(&method.len())
        && method.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    let method = std::str::from_utf8(method).ok().filter(|_| is_word).ok_or_else(no_method)?;
    if password.is_empty() {
        return Err(LinkProblem::new("an empty password", WANTED));
    }
    let password = Secret::new(password);
    Ok(LinkedProtocol::Shadowsocks { method: usual(method), password, plugin })
}

/// The name by which a method is known: some programs write it in capitals, or as Outline's library
/// (AEAD_AES_256_GCM) or Xray (chacha20-poly1305) does.
fn usual(method: &str) -> String {
    let method = method.to_ascii_lowercase().replace('_', "-");
    let method = method.strip_prefix("aead-").unwrap_or(&method);
    match method {
        "chacha20-poly1305" => "chacha20-ietf-poly1305".into(),
        method => method.to_owned(),
    }
}

/// The plugin, as SIP002 has it. What else would be lost if it were left out is refused.
fn plugin(pieces: &Pieces<'_>) -> Result<Option<PluginSpec>, LinkProblem> {
    let refused = |what: String| {
        let accepted = "links without it, since the traffic would go out without what it adds";
        Err(LinkProblem::new(format!("{what}, which is not yet supported"), accepted))
    };
    // Programs' own forms, of which there is no standard.
    for plugin in ["v2ray-plugin", "shadow-tls", "obfs"] {
        if pieces.option(plugin).is_some() {
            return refused(format!("the option {plugin:?} in place of plugin=NAME;OPTIONS"));
        }
    }
    for (key, harmless) in [("type", ["tcp", "raw"]), ("security", ["none", "auto"])] {
        match pieces.option(key) {
            Some(value) if !harmless.contains(&value.to_ascii_lowercase().as_str()) => {
                return refused(format!("{key}={}", shortened(value)));
            }
            _ => {}
        }
    }
    let Some(text) = pieces.option("plugin") else { return Ok(None) };
    PluginSpec::of_link(text).map(Some).map_err(|accepted| {
        let name = text.split(';').next().unwrap_or_default();
        LinkProblem::new(format!("the plugin {:?}", shortened(name)), accepted)
    })
}

/// For a message.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(30).collect()
}
