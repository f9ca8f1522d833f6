//! What is asked of a configuration file: whether it is right, and what the kernel would be told.

use super::out::{fail, print, say};
use super::wrong::load;
use crate::config::{CONFIG_FILE, Config, Loaded, Purpose};
use crate::daemon;
use clap::{Args, ValueHint};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct FileArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = CONFIG_FILE)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub config: PathBuf,
    /// Read it as for `--dns-only`.
    #[arg(long)]
    pub dns_only: bool,
}

#[derive(Debug, Args)]
pub struct RulesArguments {
    #[command(flatten)]
    pub file: FileArguments,
    /// The lists of addresses too, and everything in the order in which the kernel is told. With
    /// the backend nftables, `nft -c -f -` takes it.
    #[arg(long)]
    pub sets: bool,
}

pub fn check(file: &FileArguments) -> ExitCode {
    let purpose = purpose(file.dns_only);
    let loaded = match load(&file.config, purpose) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let mut advice = advice(&loaded.config, purpose);
    let mut here = Vec::new();
    if purpose == Purpose::Daemon {
        advice.extend(daemon::shortfalls(&loaded.config));
        here = daemon::here(&loaded.config);
    }
    for warning in loaded.warnings.iter().chain(&advice) {
        say(format_args!("warning: {warning}"));
    }
    let here = titled("here", here.iter().map(String::as_str));
    print(&(loaded.summary() + &here + &titled("not tried", NOT_TRIED.into_iter())))
}

/// What a file cannot show.
const NOT_TRIED: [&str; 2] = [
    "no name was looked up, no proxy asked, no rule put in. Once snet runs, `snet status` says",
    "what answers, and `snet explain NAME` what goes where",
];

/// As the summary has it.
fn titled<'a>(title: &str, lines: impl Iterator<Item = &'a str>) -> String {
    let titles = std::iter::once(title).chain(std::iter::repeat(""));
    titles.zip(lines).map(|(title, line)| format!("{title:<10}{line}\n")).collect()
}

pub fn rules(of: &RulesArguments) -> ExitCode {
    let Loaded { config, .. } = match load(&of.file.config, purpose(of.file.dns_only)) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match daemon::rules(&config, of.sets) {
        Ok(text) => print(&text),
        Err(failure) => fail(failure.exit_code(), failure),
    }
}

pub fn advice(config: &Config, purpose: Purpose) -> Vec<String> {
    let mut advice = daemon::missing_plugins(config);
    // Without rules nothing comes back.
    if purpose == Purpose::Daemon {
        advice.extend(daemon::advice(config));
    }
    advice
}

pub fn purpose(dns_only: bool) -> Purpose {
    if dns_only { Purpose::DnsOnly } else { Purpose::Daemon }
}
