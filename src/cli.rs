//! The command line: arguments in, exit code out. Everything else is elsewhere.
//!
//! Exit codes follow sysexits.h: 64 usage, 69 unavailable, 70 bug, 77 permission, 78 configuration.

use crate::config::{Config, Loaded, LogLevel, Purpose};
use crate::{daemon, firewall, selftest};
use clap::{ArgAction, Args, Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;
use tracing::{error, warn};

/// Wrong arguments (EX_USAGE).
const USAGE: u8 = 64;
/// Something outside is missing: a tool, a port, a kernel module (EX_UNAVAILABLE).
pub const UNAVAILABLE: u8 = 69;
/// A fault of ours (EX_SOFTWARE).
const SOFTWARE: u8 = 70;
/// Not allowed (EX_NOPERM).
const NOPERM: u8 = 77;
/// The configuration file (EX_CONFIG).
const CONFIG: u8 = 78;

/// Transparent proxy: redirects this machine's TCP, sends domestic traffic direct and the rest
/// through a proxy, and answers names without poison.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Args)]
struct Run {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Only the split resolver: no root, no firewall rule.
    #[arg(long)]
    dns_only: bool,
    /// Log more; twice: everything.
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration file and print what it means.
    Check(File),
    /// Print exactly what the kernel would be told; do nothing.
    Rules(File),
    /// Remove whatever a killed snet has left in the kernel.
    Cleanup,
    /// Try everything in a sealed little internet on this very kernel; needs no root.
    Selftest,
    /// One host of the selftest.
    #[command(name = selftest::HOST_COMMAND, hide = true)]
    SelftestHost {
        /// Which one, and what it needs.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Read it as for `--dns-only`.
    #[arg(long)]
    dns_only: bool,
}

/// Runs the program; called by `main` before any thread exists.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error; a closed pipe is nobody's concern.
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        None => run(&cli.run),
        Some(Command::Check(file)) => check(&file),
        Some(Command::Rules(file)) => rules(&file),
        Some(Command::Cleanup) => cleanup(),
        Some(Command::Selftest) => selftest::run(),
        Some(Command::SelftestHost { arguments }) => selftest::host(&arguments),
    }
}

fn run(run: &Run) -> ExitCode {
    let Some(path) = &run.config else { return USAGE.into() };
    let purpose = purpose(run.dns_only);
    let loaded = match Config::load(path, purpose) {
        Ok(loaded) => loaded,
        Err(problems) => return fail(CONFIG, problems),
    };
    log_to_stderr(loaded.config.log_level, run.verbose);
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    match daemon::run(loaded.config, purpose) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!("{failure}");
            exit_code(&failure).into()
        }
    }
}

fn exit_code(failure: &daemon::Error) -> u8 {
    match failure.kind() {
        daemon::Kind::Permission => NOPERM,
        daemon::Kind::Unavailable => UNAVAILABLE,
        daemon::Kind::Bug => SOFTWARE,
    }
}

fn check(file: &File) -> ExitCode {
    match Config::load(&file.config, purpose(file.dns_only)) {
        Ok(Loaded { config, warnings }) => {
            for warning in warnings {
                say(format_args!("warning: {warning}"));
            }
            print(&config.summary())
        }
        Err(problems) => fail(CONFIG, problems),
    }
}

fn rules(file: &File) -> ExitCode {
    match Config::load(&file.config, purpose(file.dns_only)) {
        Ok(Loaded { config, .. }) => match daemon::rules(&config) {
            Ok(text) => print(&text),
            Err(failure) => fail(exit_code(&failure), failure),
        },
        Err(problems) => fail(CONFIG, problems),
    }
}

fn cleanup() -> ExitCode {
    log_to_stderr(LogLevel::Info, 0);
    match firewall::cleanup() {
        Ok(cleaned) => print(&cleaned.to_string()),
        Err(failure) => {
            let failure = daemon::Error::from(failure);
            fail(exit_code(&failure), failure)
        }
    }
}

fn purpose(dns_only: bool) -> Purpose {
    if dns_only { Purpose::DnsOnly } else { Purpose::Daemon }
}

fn fail(code: u8, message: impl std::fmt::Display) -> ExitCode {
    say(message);
    code.into()
}

/// To a stderr that may be gone: then nobody is there to be told.
fn say(message: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// A reader that hangs up early (`snet rules | head`) is no error.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(out, "{text}{newline}").and_then(|()| out.flush());
    ExitCode::SUCCESS
}

/// To stderr: the terminal's or the journal's, which has a clock of its own.
fn log_to_stderr(level: LogLevel, verbose: u8) {
    let level = match (level, verbose) {
        (_, 2..) | (LogLevel::Trace, _) | (LogLevel::Debug, 1) => LevelFilter::TRACE,
        (LogLevel::Debug, 0) | (_, 1) => LevelFilter::DEBUG,
        (LogLevel::Info, 0) => LevelFilter::INFO,
        (LogLevel::Warn, 0) => LevelFilter::WARN,
        (LogLevel::Error, 0) => LevelFilter::ERROR,
    };
    let builder = tracing_subscriber::fmt()
        // A terminal that is gone must not end the daemon: complaining there would panic.
        .log_internal_errors(false)
        .with_max_level(level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().init();
    } else {
        builder.init();
    }
}
