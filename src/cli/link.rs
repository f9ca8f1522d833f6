//! Proxies as links and as tables of the file.

use super::out::{fail, print, say};
use super::wrong::load;
use crate::config::{ProxyConfig, Purpose, proxy_of_link};
use crate::exit::{CONFIG, USAGE};
use clap::{Args, ValueHint};
use std::io::{self, BufRead, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use zeroize::Zeroizing;

#[derive(Debug, Args)]
pub struct LinkArguments {
    /// The proxies of this file. Without it, links are read from standard input, one on each line:
    /// an argument would show their passwords to everyone on this machine.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Only the proxy of this name.
    #[arg(requires = "config", value_hint = ValueHint::Other)]
    pub name: Option<String>,
}

pub fn link(of: &LinkArguments) -> ExitCode {
    let proxies = match &of.config {
        Some(path) => match load(path, Purpose::DnsOnly) {
            Ok(loaded) => loaded.config.proxies,
            Err(code) => return code,
        },
        None => match proxies_of_stdin() {
            Ok(proxies) => proxies,
            Err((code, why)) => return fail(code, why),
        },
    };
    let is_wanted = |proxy: &&ProxyConfig| of.name.as_ref().is_none_or(|name| *name == proxy.name);
    let texts: Vec<Zeroizing<String>> = proxies
        .iter()
        .filter(is_wanted)
        .map(|proxy| Zeroizing::new(format!("{}\n\n{}", proxy.link(), *proxy.table())))
        .collect();
    if texts.is_empty() {
        let names: Vec<String> = proxies.iter().map(|proxy| format!("{:?}", proxy.name)).collect();
        return fail(CONFIG, format_args!("no such proxy; there are: {}", names.join(", ")));
    }
    let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
    print(&Zeroizing::new(texts.join("\n")))
}

/// The proxies of the links on standard input: of the one that is pasted into a terminal, or of all
/// lines of a pipe.
fn proxies_of_stdin() -> Result<Vec<ProxyConfig>, (u8, String)> {
    const MOST: u64 = 1 << 20;
    let mut text = Zeroizing::new(String::new());
    let mut stdin = io::stdin().lock().take(MOST);
    let read = if io::stdin().is_terminal() {
        say("Paste a link (ss://, http://, https:// or socks5://), then press Enter:");
        stdin.read_line(&mut text)
    } else {
        stdin.read_to_string(&mut text)
    };
    read.map_err(|error| (USAGE, format!("cannot read links from standard input: {error}")))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let proxies: Result<Vec<_>, _> = lines
        .map(|(number, line)| {
            let in_line = |problem| (CONFIG, format!("line {}: {problem}", number + 1));
            proxy_of_link(line).map_err(in_line)
        })
        .collect();
    match proxies {
        Ok(proxies) if proxies.is_empty() => Err((USAGE, "standard input has no link".into())),
        proxies => proxies,
    }
}
