//! What stands in the body of a subscription. The format is found by its content: providers say
//! anything in `Content-Type`, and nothing in the name.
//!
//! | format | how it is known | read by |
//! |---|---|---|
//! | SIP008, JSON | `{` with `servers`, or a list of them | `sip008` |
//! | a Clash file, YAML (or JSON) | `proxies` at the top | `clash` |
//! | a sing-box file, JSON | `outbounds` at the top | `sing_box` |
//! | a configuration of shadowsocks, JSON | `server` and `method` at the top | `sip008` |
//! | a list of links | a `scheme://` at the begin of a line | `links` |
//! | any of these in base64 | no other character; any alphabet, padding, line length | |
//!
//! Each entry becomes what a share link of the same meaning becomes: `sip008` and `clash` write it
//! as one, so that there is one reader of what a proxy may be. What an entry asks for and snet does
//! not do makes it unfit; it is never left out. An entry never costs its neighbours.
//!
//! Bounds: [`LONGEST_BODY`], [`MOST_PROXIES`], and those of `tree`. No message shows a secret.

mod clash;
mod entry;
mod information;
pub mod json;
mod links;
mod sing_box;
mod sip008;
pub mod tree;
mod yaml;

use crate::share_link::encoding::base64_decoded;
use crate::share_link::{LinkProblem, ShareLink};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use tree::Node;
use zeroize::Zeroizing;

/// A body of more bytes is none. A Clash file with all its rules has two million.
pub const LONGEST_BODY: usize = 8 << 20;

/// What stands behind so many proxies is only counted.
pub const MOST_PROXIES: usize = 4096;

/// What a server is to be, of a body that was fetched.
pub const ELSEWHERE: &str = "a server elsewhere: a subscription knows none of this machine";

/// Names of other protocols that are told apart, and pieces of information.
const MOST_SHOWN: usize = 16;

/// Entries that are named with what is wrong with them.
const MOST_UNFIT: usize = 256;

/// Keys at the top of a file that are named.
const MOST_KEYS: usize = 32;

/// What a body says.
#[derive(Debug)]
pub struct SubscriptionBody {
    /// How it is written.
    pub format: BodyFormat,
    /// The proxies, in the order of the body; information that is dressed as one comes last.
    pub proxies: Vec<ProvidedProxy>,
    /// What the others are, with how many there are of each kind.
    pub passed_over: PassedOver,
    /// What the body itself says of the traffic (SIP008).
    pub traffic: Traffic,
    /// Keys beside the list of servers, which nobody reads here; the first few.
    pub other_keys: Vec<String>,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// <https://shadowsocks.org/doc/sip008.html>
    Sip008,
    /// `proxies:` of Clash and mihomo.
    Clash,
    /// `outbounds` of sing-box.
    SingBox,
    /// `config.json` of shadowsocks' own programs.
    Shadowsocks,
    /// A link on each line.
    Links,
}

/// One proxy of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvidedProxy {
    /// What a link of the same meaning says.
    pub link: ShareLink,
    /// Whether its server carries UDP; `None`: nothing is said.
    pub udp: Option<bool>,
}

/// Entries of a body that are not used.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Entries of protocols that snet does not speak, by their names.
    pub protocols: BTreeMap<String, usize>,
    /// The first few of these entries: the protocol, and the name.
    pub others: Vec<(String, String)>,
    /// Entries that want what snet does not do, or make no sense: the first few, with their names.
    pub unfit: Vec<(String, LinkProblem)>,
    /// The number of all of these.
    pub unfit_count: usize,
    /// Names of entries that are no servers: providers tell so what traffic is left.
    pub information: Vec<String>,
    /// Proxies behind the last one that is read.
    pub beyond: usize,
}

/// Bytes that a customer has used, and may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Used in this period.
    pub used: Option<u64>,
    /// What is left of it.
    pub remaining: Option<u64>,
}

/// Why a body says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {found}; accepted: SIP008, links (plain or in base64), a Clash file with proxies, or a \
     sing-box file with outbounds"
)]
pub struct UnreadableBody {
    /// What came; never a secret.
    pub found: String,
}

impl UnreadableBody {
    fn new(found: impl Into<String>) -> Self {
        UnreadableBody { found: found.into() }
    }
}

impl SubscriptionBody {
    /// Reads a body. It may hold no proxy at all.
    ///
    /// # Errors
    /// It is of no known format, or too long.
    pub fn read(body: &[u8]) -> Result<Self, UnreadableBody> {
        if body.len() > LONGEST_BODY {
            let most = LONGEST_BODY >> 20;
            return Err(UnreadableBody::new(format!("a body of more than {most} MiB")));
        }
        match plain(body) {
            Err(Unknown::Text) => {}
            Err(Unknown::Named(unreadable)) => return Err(unreadable),
            Ok(read) => return Ok(read),
        }
        let Some(decoded) = decoded(body) else { return Err(unknown(body)) };
        match plain(&decoded) {
            // Words without a point are base64 too.
            Err(Unknown::Text) if body.contains(&b' ') => Err(unknown(body)),
            Err(Unknown::Text) => Err(UnreadableBody::new("base64 of something else")),
            Err(Unknown::Named(unreadable)) => Err(unreadable),
            Ok(read) => Ok(read),
        }
    }

    fn new(format: BodyFormat) -> Self {
        SubscriptionBody {
            format,
            proxies: Vec::new(),
            passed_over: PassedOver::default(),
            traffic: Traffic::default(),
            other_keys: Vec::new(),
        }
    }

    /// Takes in what an entry turned out to be.
    fn take(&mut self, entry: BodyEntry) {
        let passed_over = &mut self.passed_over;
        match entry {
            BodyEntry::Proxy(proxy) => {
                if let Some(note) = proxy.link.name.as_deref().and_then(information::of)
                    && passed_over.information.len() < MOST_SHOWN
                {
                    passed_over.information.push(note.to_owned());
                }
                if self.proxies.len() == MOST_PROXIES {
                    passed_over.beyond += 1;
                } else {
                    self.proxies.push(proxy);
                }
            }
            BodyEntry::Information(note) => {
                if passed_over.information.len() < MOST_SHOWN {
                    passed_over.information.push(note);
                }
            }
            BodyEntry::OtherProtocol { protocol: name, entry } => {
                if passed_over.others.len() < MOST_SHOWN {
                    passed_over.others.push((name.clone(), entry));
                }
                let protocols = &mut passed_over.protocols;
                let is_shown = protocols.len() < MOST_SHOWN || protocols.contains_key(&name);
                *protocols.entry(if is_shown { name } else { "others".into() }).or_default() += 1;
            }
            BodyEntry::Unfit { name, problem } => {
                passed_over.unfit_count += 1;
                if passed_over.unfit.len() < MOST_UNFIT {
                    passed_over.unfit.push((name, problem));
                }
            }
        }
    }

    /// What is no server may still look like one, often as the first of the list: behind all others
    /// it costs no connection its time.
    fn information_last(mut self) -> Self {
        let is_information =
            |proxy: &ProvidedProxy| proxy.link.name.as_deref().and_then(information::of).is_some();
        self.proxies.sort_by_key(is_information);
        self
    }
}

/// What an entry is.
#[derive(Debug)]
enum BodyEntry {
    Proxy(ProvidedProxy),
    /// Text for the customer in the place of a server.
    Information(String),
    OtherProtocol {
        protocol: String,
        /// Its name, or its place.
        entry: String,
    },
    Unfit {
        name: String,
        problem: LinkProblem,
    },
}

/// Why a text is not read.
enum Unknown {
    /// It may be base64.
    Text,
    Named(UnreadableBody),
}

fn plain(body: &[u8]) -> Result<SubscriptionBody, Unknown> {
    let text = Zeroizing::new(String::from_utf8_lossy(body).into_owned());
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(Unknown::Named(UnreadableBody::new("nothing")));
    }
    // A web page may have a line that begins with an address of the web.
    let mut schemes = text.lines().filter_map(links::scheme);
    if schemes.any(|scheme| !["http", "https"].contains(&scheme.as_str())) {
        return Ok(links::read(text).information_last());
    }
    if text.starts_with('<') {
        return Err(Unknown::Named(UnreadableBody::new(html(text))));
    }
    if text.starts_with(['{', '[']) {
        // What begins so may be a flow collection of YAML as well.
        let root = json::read(text).or_else(|broken| yaml::read(text).map_err(|_| broken));
        let root = root.map_err(Unknown::Named)?;
        return of_tree(&root, text).map_err(Unknown::Named);
    }
    let keys = ["proxies:", "\"proxies\":", "'proxies':"];
    if text.lines().any(|line| keys.iter().any(|key| line.starts_with(key))) {
        let root = yaml::read(text).map_err(Unknown::Named)?;
        return of_tree(&root, text).map_err(Unknown::Named);
    }
    if text.lines().any(|line| links::scheme(line).is_some()) {
        return Ok(links::read(text).information_last());
    }
    if text.lines().any(|line| line.starts_with("proxy-providers:")) {
        let found = "a Clash file that names other subscriptions (proxy-providers) and no proxies";
        return Err(Unknown::Named(UnreadableBody::new(found)));
    }
    Err(Unknown::Text)
}

fn of_tree(root: &Rc<Node>, text: &str) -> Result<SubscriptionBody, UnreadableBody> {
    let read = if let Some(proxies) = root.get("proxies") {
        let no_list = || UnreadableBody::new("\"proxies\" that is no list");
        clash::read(proxies.list().ok_or_else(no_list)?)
    } else if let Some(outbounds) = root.get("outbounds") {
        let no_list = || UnreadableBody::new("\"outbounds\" that is no list");
        let list = outbounds.list().ok_or_else(no_list)?;
        if sing_box::are_of_xray(list) {
            return Err(UnreadableBody::new("a configuration of Xray or V2Ray"));
        }
        sing_box::read(list)
    } else if root.get("servers").is_some() {
        sip008::read(root)?
    } else if let Some(servers) = root.list().filter(|list| sip008::are_servers(list)) {
        sip008::servers(servers)
    } else if sip008::is_server(root) {
        let body = sip008::servers(std::slice::from_ref(root));
        SubscriptionBody { format: BodyFormat::Shadowsocks, ..body }
    } else {
        return Err(unknown(text.as_bytes()));
    };
    let read = SubscriptionBody { other_keys: other_keys(root), ..read };
    Ok(read.information_last())
}

/// Keys at the top that say something of no server.
fn other_keys(root: &Node) -> Vec<String> {
    let Node::Map(entries) = root else { return Vec::new() };
    let is_other = |key: &&str| {
        !["proxies", "outbounds", "servers", "version", "bytes_used", "bytes_remaining"]
            .iter()
            .chain(&sip008::KEYS)
            .any(|known| known == key)
    };
    let keys = entries.iter().map(|(key, _)| key.as_str()).filter(is_other);
    keys.take(MOST_KEYS).map(shown).collect()
}

/// The whole body, or each of its lines by itself.
fn decoded(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let packed: Zeroizing<Vec<u8>> =
        Zeroizing::new(body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect());
    if let Some(decoded) = base64_decoded(&packed) {
        return Some(decoded);
    }
    let mut all = Zeroizing::new(Vec::new());
    for line in body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        all.extend_from_slice(&base64_decoded(line)?);
        all.push(b'\n');
    }
    Some(all)
}

/// Prose is shown: it may say that a token has expired. What could be half a secret is not.
fn unknown(body: &[u8]) -> UnreadableBody {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let line = text.trim_start_matches('\u{feff}').trim().lines().next().unwrap_or_default();
    let is_prose = line.contains(' ') || line.contains("\"message\"") || line.contains("\"msg\"");
    let length = body.len();
    UnreadableBody::new(match is_prose && !line.contains("://") && !line.contains("password") {
        true => format!("a text of {length} bytes that begins with {:?}", shown(line)),
        false => format!("{length} bytes of something else"),
    })
}

/// Providers that block, and networks with a page to log in, answer with one.
fn html(text: &str) -> String {
    let lower = text.get(..text.len().min(4096)).unwrap_or(text).to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|begin| {
        let begin = begin + "<title>".len();
        let end = begin + lower.get(begin..)?.find('<')?;
        text.get(begin..end)
    });
    match title.map(str::trim).filter(|title| !title.is_empty()) {
        Some(title) => format!("a web page, {:?}", shown(title)),
        None => "a web page".into(),
    }
}

/// A text of the provider's, fit for a log.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

impl fmt::Display for BodyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyFormat::Sip008 => "SIP008",
            BodyFormat::Clash => "a Clash file",
            BodyFormat::SingBox => "a sing-box file",
            BodyFormat::Shadowsocks => "a configuration of shadowsocks",
            BodyFormat::Links => "a list of links",
        })
    }
}

#[cfg(test)]
mod tests;
