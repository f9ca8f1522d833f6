//! What changes this machine: the daemon in the foreground, and the cleanup behind a killed one.

use super::file::{advice, purpose};
use super::out::{fail, print};
use super::wrong::load;
use crate::config::{self, CONFIG_FILE, Config, Loaded, Purpose};
use crate::daemon;
use crate::log::{Log, LogSettings};
use clap::{ArgAction, Args};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tracing::{error, info, warn};

#[derive(Debug, Args)]
pub struct RunArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = CONFIG_FILE)]
    pub config: PathBuf,
    /// Only the split resolver: no root, no firewall rule.
    #[arg(long)]
    pub dns_only: bool,
    /// Log more; twice: everything.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

pub fn run(run: &RunArguments) -> ExitCode {
    let (path, purpose) = (&run.config, purpose(run.dns_only));
    let loaded = match load(path, purpose) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let log = Log::new(loaded.config.log, run.verbose);
    let _last_words = log.last_words();
    for list in &loaded.config.rules.lists {
        info!("list {list}");
    }
    for warning in loaded.warnings.iter().chain(&advice(&loaded.config, purpose)) {
        warn!("{warning}");
    }
    let source = Watched { path: path.clone(), purpose, log };
    match daemon::run(loaded.config, purpose, Arc::new(source)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure}");
            failure.exit_code().into()
        }
    }
}

/// The file that the daemon runs with, and the log, whose level it says.
struct Watched {
    path: PathBuf,
    purpose: Purpose,
    log: Log,
}

impl daemon::ConfigSource for Watched {
    fn rights_are_given_up(&self) -> io::Result<()> {
        self.log.begin()
    }

    fn load(&self) -> Result<Config, config::Error> {
        let Loaded { config, warnings, .. } = Config::load(&self.path, self.purpose)?;
        for list in &config.rules.lists {
            info!("list {list}");
        }
        for warning in warnings.iter().chain(&advice(&config, self.purpose)) {
            warn!("{warning}");
        }
        Ok(config)
    }

    fn log(&self) -> &Log {
        &self.log
    }

    fn taken(&self, config: &Config) {
        self.log.set(config.log);
    }
}

pub fn cleanup(keep_closed: bool) -> ExitCode {
    match cleaned(keep_closed) {
        Ok(said) => print(&said),
        Err(failure) => fail(failure.exit_code(), failure),
    }
}

/// What it has to say is written before the result, and a reader that does not read holds up
/// neither.
fn cleaned(keep_closed: bool) -> Result<String, daemon::Error> {
    let log = Log::new(LogSettings::default(), 0);
    let _last_words = log.last_words();
    daemon::cleanup(keep_closed)
}
