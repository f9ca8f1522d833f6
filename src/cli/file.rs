//! What is asked of a configuration file: whether it is right, and what the kernel would be told.

use super::out::{fail, print, say};
use crate::config::{Config, Loaded, Purpose};
use crate::daemon;
use crate::exit::CONFIG;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct FileArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Read it as for `--dns-only`.
    #[arg(long)]
    pub dns_only: bool,
}

pub fn check(file: &FileArguments) -> ExitCode {
    let purpose = purpose(file.dns_only);
    match Config::load(&file.config, purpose) {
        Ok(loaded) => {
            let mut advice = advice(&loaded.config, purpose);
            if purpose == Purpose::Daemon {
                advice.extend(daemon::shortfalls(&loaded.config));
            }
            for warning in loaded.warnings.iter().chain(&advice) {
                say(format_args!("warning: {warning}"));
            }
            let here = daemon::offloaded(&loaded.config).filter(|_| purpose == Purpose::Daemon);
            let here = here.map(|told| format!("          here: {told}\n")).unwrap_or_default();
            print(&(loaded.summary() + &here))
        }
        Err(problems) => fail(CONFIG, problems),
    }
}

pub fn rules(file: &FileArguments) -> ExitCode {
    match Config::load(&file.config, purpose(file.dns_only)) {
        Ok(Loaded { config, .. }) => match daemon::rules(&config) {
            Ok(text) => print(&text),
            Err(failure) => fail(failure.exit_code(), failure),
        },
        Err(problems) => fail(CONFIG, problems),
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
