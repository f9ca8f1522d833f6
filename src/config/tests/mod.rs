//! Bad files and what is said of them, good files and what they mean.

mod bad;
mod dns;
mod files;
mod good;
mod groups;
mod keys;
#[cfg(not(any(feature = "tls", feature = "web")))]
mod small;
#[cfg(feature = "import")]
mod subscriptions;
mod summary;
mod tls;
mod watch;

use super::read::parse;
use super::{Config, Error, Loaded, Purpose};
use std::path::Path;

/// Enough of a `[[proxy]]` to please.
const PROXY: &str = "[[proxy]]\ntype = \"http\"\nserver = \"p.example:80\"\n";

fn read(text: &str) -> Result<Loaded, Error> {
    parse(Path::new("snet.toml"), text, Purpose::Daemon).map(|(loaded, _)| loaded)
}

/// Reads a text that gets its `[[proxy]]` here.
fn config(text: &str) -> Config {
    read(&format!("{text}\n{PROXY}")).unwrap_or_else(|error| panic!("{error}")).config
}

/// What is said of a text, which gets a `[[proxy]]` if it has none.
fn problems(text: &str) -> Vec<String> {
    let has_proxy = text.contains("[proxy]") || text.starts_with("proxy");
    let text = if has_proxy { text.to_owned() } else { format!("{text}{PROXY}") };
    read(&text).err().map_or(Vec::new(), |error| error.problems)
}
