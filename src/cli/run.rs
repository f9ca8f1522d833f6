//! What changes this machine: the daemon in the foreground, and the cleanup behind a killed one.

use super::file::{advice, purpose};
use super::out::{fail, print};
use super::wrong::load;
use crate::config::{self, CONFIG_FILE, Config, Loaded, Purpose};
use crate::daemon;
use crate::log::{Log, LogSettings};
use crate::sync::lock;
use crate::warnings::Complaints;
use clap::{ArgAction, Args, ValueHint};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use tracing::{error, info};

#[derive(Debug, Args)]
pub struct RunArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = CONFIG_FILE)]
    #[arg(value_hint = ValueHint::FilePath)]
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
    let told = told(loaded.warnings, &loaded.config, purpose);
    let mut warnings = Complaints::default();
    warnings.set(told.clone());
    let warnings = Mutex::new((told, warnings));
    let source = Watched { path: path.clone(), purpose, log, warnings };
    match daemon::run(loaded.config, purpose, Arc::new(source)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure}");
            failure.exit_code().into()
        }
    }
}

/// What is odd about a configuration without being wrong.
fn told(mut warnings: Vec<String>, config: &Config, purpose: Purpose) -> Vec<String> {
    warnings.extend(advice(config, purpose));
    warnings
}

/// The file that the daemon runs with, and the log, whose level it says.
struct Watched {
    path: PathBuf,
    purpose: Purpose,
    log: Log,
    /// What there is to say of the configuration that was read last, and what holds.
    warnings: Mutex<(Vec<String>, Complaints)>,
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
        let (last, standing) = &mut *lock(&self.warnings);
        *last = told(warnings, &config, self.purpose);
        standing.add(last.clone());
        Ok(config)
    }

    fn log(&self) -> &Log {
        &self.log
    }

    fn taken(&self, config: &Config) {
        let (last, standing) = &mut *lock(&self.warnings);
        standing.set(last.clone());
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
