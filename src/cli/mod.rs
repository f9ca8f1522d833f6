//! The command line: arguments in, exit code out. Everything else is elsewhere.
//! The codes are those of [`exit`](crate::exit).
//!
//! - `run` what changes this machine: the daemon, cleanup
//! - `file` a configuration file: check, rules
//! - `link` proxies as links
//! - `import` another program's file
//! - `asking` the running daemon: reload, status, explain, top
//! - `wrong` what is wrong with a file, also for a terminal
//! - `choosing` its proxies: use, delay
//! - `out` what is said, and how a command ends

mod asking;
mod choosing;
mod file;
mod import;
mod link;
mod out;
mod run;
mod wrong;

use crate::exit::{UNAVAILABLE, USAGE};
use crate::plugin::child;
use crate::selftest;
use asking::{ExplainArguments, SocketArgument, StatusArguments, TopArguments};
use choosing::{DelayArguments, UseArguments};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use file::{FileArguments, RulesArguments};
use import::ConfigCommand;
use link::LinkArguments;
use run::RunArguments;
use std::path::PathBuf;
use std::process::ExitCode;

/// What all commands end with; they are those of [`exit`](crate::exit).
const EXIT_CODES: &str = "\
Exit codes:
  0   all is well
  1   selftest: a trial failed
  64  the command line is wrong, or standard input has nothing to read
  69  something outside snet is missing or taken: a tool, a port, a kernel module, the running snet
  70  a bug of snet
  77  not root, or CAP_NET_ADMIN is missing
  78  the configuration file is wrong, or not there; a link is wrong";

/// Transparent proxy: redirects this machine's TCP, sends domestic traffic direct and the rest
/// through a proxy, and answers names without poison.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration file and print what it means.
    Check(FileArguments),
    /// Print what the kernel would be told; do nothing.
    ///
    /// First the rules, then the sets, of which a long one is only counted; --sets prints all.
    Rules(RulesArguments),
    /// Reload the configuration of the running daemon; connections live on.
    Reload(SocketArgument),
    /// Print how the running daemon is: capture, traffic, names, proxies, lists.
    Status(StatusArguments),
    /// Say why a name or an address goes where it goes: rules, lists, answers, verdict, proxy.
    Explain(ExplainArguments),
    /// Use this member of a group while it works; without a member: as the policy says.
    Use(UseArguments),
    /// Test how soon an answer comes through the proxies of the running daemon.
    Delay(DelayArguments),
    /// Watch the connections of the running daemon: who talks to whom, how fast, by which way.
    Top(TopArguments),
    /// Print proxies as links and as tables of the file: those of a file, or that of a link on
    /// standard input.
    Link(LinkArguments),
    /// Configurations of other programs.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Remove whatever a killed snet has left in the kernel.
    Cleanup {
        /// Leave a network that firewall.on-failure = "closed" keeps closed.
        #[arg(long)]
        keep_closed: bool,
    },
    /// Try everything in a sealed little internet on this very kernel; needs no root.
    Selftest {
        /// Only with this one; otherwise with each that can be had here.
        #[arg(long, value_parser = ["iptables", "nftables"])]
        backend: Option<String>,
    },
    /// One host of the selftest.
    #[command(name = selftest::HOST_COMMAND, hide = true)]
    SelftestHost {
        /// Which one, and what it needs.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What becomes a plugin, without rights.
    #[command(name = child::COMMAND, hide = true)]
    PluginChild {
        /// The process that it ends with.
        parent: i32,
        /// The plugin.
        program: PathBuf,
    },
}

/// The definition of the command line, for what is made from it: manual page, completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program; called by `main` before any thread exists.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error; a closed pipe is no error either.
            let _ = error.print();
            if let Some(hint) = usage_hint(&error, std::env::args().nth(1).as_deref()) {
                out::say(hint);
            }
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        None => run::run(&cli.run),
        Some(Command::Check(file)) => file::check(&file),
        Some(Command::Rules(file)) => file::rules(&file),
        Some(Command::Reload(at)) => asking::reload(&at),
        Some(Command::Status(of)) => asking::status(&of),
        Some(Command::Explain(of)) => asking::explain(&of),
        Some(Command::Use(of)) => choosing::use_member(of),
        Some(Command::Delay(of)) => choosing::delay(of),
        Some(Command::Top(of)) => asking::top(of),
        Some(Command::Link(of)) => link::link(&of),
        Some(Command::Config(_)) if cfg!(not(feature = "import")) => {
            out::fail(UNAVAILABLE, "this build of snet reads no files of other programs")
        }
        Some(Command::Config(command)) => import::run(&command),
        Some(Command::Cleanup { keep_closed }) => run::cleanup(keep_closed),
        Some(Command::Selftest { .. } | Command::SelftestHost { .. })
            if cfg!(not(feature = "selftest")) =>
        {
            out::fail(UNAVAILABLE, "this build of snet has no selftest")
        }
        Some(Command::Selftest { backend }) => {
            selftest::run(backend.and_then(|word| word.parse().ok()))
        }
        Some(Command::PluginChild { parent, program }) => {
            let Err(error) = child::become_plugin(parent, &program);
            out::fail(UNAVAILABLE, format_args!("{} cannot be run: {error}", program.display()))
        }
        Some(Command::SelftestHost { arguments }) => selftest::host(&arguments),
    }
}

/// What to write instead, where clap cannot know. `first` is the first word behind `snet`.
fn usage_hint(error: &clap::Error, first: Option<&str>) -> Option<&'static str> {
    let word = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => word.as_str(),
        _ => "",
    };
    match (error.kind(), first) {
        (ErrorKind::UnknownArgument, Some("check" | "rules")) if !word.starts_with('-') => {
            Some("tip: the file is an option: write -c FILE")
        }
        (ErrorKind::UnknownArgument, Some("status" | "reload" | "top" | "use" | "delay"))
            if ["-c", "--config"].contains(&word) =>
        {
            Some(ASKS)
        }
        (ErrorKind::InvalidSubcommand, Some(file)) if file.contains(['/', '.']) => {
            Some("tip: the file is an option: write -c FILE")
        }
        (ErrorKind::ArgumentConflict, Some("-c" | "--config")) => Some(ASKS),
        _ => None,
    }
}

const ASKS: &str = "tip: status, reload, top, use and delay ask the running snet, whose file they \
                    need not know; --socket PATH names another one. Options of check, rules, \
                    explain and link stand behind the command";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_wrong_place_is_told_its_place() {
        let hint = |words: &[&str]| {
            let error = Cli::try_parse_from([&["snet"], words].concat()).unwrap_err();
            usage_hint(&error, words.first().copied()).unwrap_or_default()
        };
        for words in [&["check", "a.toml"][..], &["rules", "a.toml"], &["a.toml"]] {
            assert!(hint(words).contains("-c FILE"), "{words:?}");
        }
        for words in [&["-c", "a.toml", "status"][..], &["status", "-c", "a.toml"]] {
            assert!(hint(words).contains("--socket"), "{words:?}");
        }
        assert_eq!(hint(&["check", "--colour"]), "");
    }

    /// clap looks at a definition only where it is built without optimisation.
    #[test]
    fn the_definition_holds() {
        command().debug_assert();
    }
}
