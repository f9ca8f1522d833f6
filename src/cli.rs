//! The command line: arguments in, exit code out. Everything else is elsewhere.
//! The codes are those of [`exit`](crate::exit).

use crate::config::{
    self, CONTROL_SOCKET, Config, Loaded, LogLevel, ProxyConfig, Purpose, proxy_of_link,
};
use crate::exit::{CONFIG, SOFTWARE, UNAVAILABLE, USAGE};
use crate::log::Log;
use crate::plugin::child;
#[cfg(feature = "top")]
use crate::top;
use crate::view::{ExplainView, StatusView};
use crate::{daemon, selftest};
use clap::{ArgAction, Args, Parser, Subcommand, value_parser};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
#[cfg(feature = "top")]
use std::time::Duration;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

/// Transparent proxy: redirects this machine's TCP, sends domestic traffic direct and the rest
/// through a proxy, and answers names without poison.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, Args)]
struct RunArguments {
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
    Check(FileArguments),
    /// Print exactly what the kernel would be told; do nothing.
    Rules(FileArguments),
    /// Reload the configuration of the running daemon; connections live on.
    Reload(SocketArgument),
    /// Print how the running daemon is: capture, traffic, names, proxies, lists.
    Status(StatusArguments),
    /// Say why a name or an address goes where it goes: rules, lists, answers, verdict, proxy.
    Explain(ExplainArguments),
    /// Watch the connections of the running daemon: who talks to whom, how fast, by which way.
    Top(TopArguments),
    /// Print proxies as links and as tables of the file: those of a file, or that of a link on
    /// standard input.
    Link(LinkArguments),
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

#[derive(Debug, Args)]
struct FileArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Read it as for `--dns-only`.
    #[arg(long)]
    dns_only: bool,
}

#[derive(Debug, Args)]
struct LinkArguments {
    /// The proxies of this file. Without it, links are read from standard input, one on each line:
    /// an argument would show their passwords to everyone on this machine.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only the proxy of this name.
    #[arg(requires = "config")]
    name: Option<String>,
}

#[derive(Debug, Args)]
struct StatusArguments {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: SocketArgument,
}

#[derive(Debug, Args)]
struct ExplainArguments {
    /// A name, an address, either with a port, or a URL.
    #[arg(value_name = "NAME|ADDRESS")]
    subject: daemon::Subject,
    /// Ask no running snet, only this file: what it decides by itself.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: SocketArgument,
}

#[derive(Debug, Args)]
struct TopArguments {
    /// Seconds from one look to the next.
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    #[arg(value_parser = value_parser!(u64).range(1..=3600))]
    interval: u64,
    #[command(flatten)]
    at: SocketArgument,
}

#[derive(Debug, Args)]
struct SocketArgument {
    /// Its `control.socket`.
    #[arg(long, value_name = "PATH", default_value = CONTROL_SOCKET)]
    socket: PathBuf,
}

/// Runs the program; called by `main` before any thread exists.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error; a closed pipe is no error either.
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        None => run(&cli.run),
        Some(Command::Check(file)) => check(&file),
        Some(Command::Rules(file)) => rules(&file),
        Some(Command::Reload(at)) => reload(&at),
        Some(Command::Status(of)) => status(&of),
        Some(Command::Explain(of)) => explain(&of),
        Some(Command::Top(of)) => top(of),
        Some(Command::Link(of)) => link(&of),
        Some(Command::Cleanup { keep_closed }) => cleanup(keep_closed),
        Some(Command::Selftest { backend }) => {
            selftest::run(backend.and_then(|word| word.parse().ok()))
        }
        Some(Command::PluginChild { parent, program }) => {
            let Err(error) = child::become_plugin(parent, &program);
            fail(UNAVAILABLE, format_args!("{} cannot be run: {error}", program.display()))
        }
        Some(Command::SelftestHost { arguments }) => selftest::host(&arguments),
    }
}

fn run(run: &RunArguments) -> ExitCode {
    let Some(path) = &run.config else { return USAGE.into() };
    let purpose = purpose(run.dns_only);
    let loaded = match Config::load(path, purpose) {
        Ok(loaded) => loaded,
        Err(problems) => return fail(CONFIG, problems),
    };
    let log = Log::new(loaded.config.log_level, run.verbose);
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

    fn taken(&self, config: &Config) {
        self.log.set(config.log_level);
    }
}

fn check(file: &FileArguments) -> ExitCode {
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

fn rules(file: &FileArguments) -> ExitCode {
    match Config::load(&file.config, purpose(file.dns_only)) {
        Ok(Loaded { config, .. }) => match daemon::rules(&config) {
            Ok(text) => print(&text),
            Err(failure) => fail(failure.exit_code(), failure),
        },
        Err(problems) => fail(CONFIG, problems),
    }
}

fn link(of: &LinkArguments) -> ExitCode {
    let proxies = match &of.config {
        Some(path) => match Config::load(path, Purpose::DnsOnly) {
            Ok(loaded) => loaded.config.proxies,
            Err(problems) => return fail(CONFIG, problems),
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

fn cleanup(keep_closed: bool) -> ExitCode {
    match cleaned(keep_closed) {
        Ok(said) => print(&said),
        Err(failure) => fail(failure.exit_code(), failure),
    }
}

/// What it has to say is written before the result, and a reader that does not read holds up
/// neither.
fn cleaned(keep_closed: bool) -> Result<String, daemon::Error> {
    let log = Log::new(LogLevel::Info, 0);
    let _last_words = log.last_words();
    daemon::cleanup(keep_closed)
}

fn reload(at: &SocketArgument) -> ExitCode {
    match ask(at, &daemon::Verb::Reload) {
        Ok(words) => print(&format!("reloaded: {words}")),
        Err(code) => code,
    }
}

fn status(of: &StatusArguments) -> ExitCode {
    let json = match ask(&of.at, &daemon::Verb::Look(daemon::Look::Status)) {
        Ok(json) => json,
        Err(code) => return code,
    };
    show::<StatusView>(&json, of.json)
}

/// Prints what the daemon shows, for programs or for people.
fn show<View: DeserializeOwned + Display>(json: &str, as_json: bool) -> ExitCode {
    if as_json {
        return print(json);
    }
    match serde_json::from_str::<View>(json) {
        Ok(view) => print(&view.to_string()),
        Err(error) => fail(
            UNAVAILABLE,
            format_args!(
                "the snet that runs is another version ({error}): restart it, or use --json"
            ),
        ),
    }
}

fn explain(of: &ExplainArguments) -> ExitCode {
    let json = match &of.config {
        None => ask(&of.at, &daemon::Verb::Explain(of.subject.clone())),
        Some(path) => match Config::load(path, Purpose::Daemon) {
            Err(problems) => return fail(CONFIG, problems),
            Ok(loaded) => {
                let view = daemon::explain_by_file(&loaded.config, &of.subject);
                serde_json::to_string(&view).map_err(|error| fail(SOFTWARE, error))
            }
        },
    };
    match json {
        Ok(json) => show::<ExplainView>(&json, of.json),
        Err(code) => code,
    }
}

#[cfg(feature = "top")]
fn top(of: TopArguments) -> ExitCode {
    let interval = Duration::from_secs(of.interval);
    match top::run(top::TopOptions { socket: of.at.socket, interval }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(failure.exit_code(), failure),
    }
}

#[cfg(not(feature = "top"))]
fn top(of: TopArguments) -> ExitCode {
    let TopArguments { interval: _, at: SocketArgument { socket: _ } } = of;
    fail(
        UNAVAILABLE,
        "this snet was built without `top` (the cargo feature of that name); there is \
         `snet status`",
    )
}

/// What the daemon says; what it does not say is told here.
fn ask(at: &SocketArgument, verb: &daemon::Verb) -> Result<String, ExitCode> {
    match daemon::ask(&at.socket, verb) {
        Ok(daemon::ControlReply::Done(words)) => Ok(words),
        Ok(daemon::ControlReply::Refused(code, why)) => Err(fail(code, why)),
        Err(failure) => {
            let socket = at.socket.display();
            Err(fail(UNAVAILABLE, format_args!("no snet answers at {socket}: {failure}")))
        }
    }
}

fn advice(config: &Config, purpose: Purpose) -> Vec<String> {
    let mut advice = daemon::missing_plugins(config);
    // Without rules nothing comes back.
    if purpose == Purpose::Daemon {
        advice.extend(daemon::advice(config));
    }
    advice
}

fn purpose(dns_only: bool) -> Purpose {
    if dns_only { Purpose::DnsOnly } else { Purpose::Daemon }
}

fn fail(code: u8, message: impl std::fmt::Display) -> ExitCode {
    say(message);
    code.into()
}

/// To a stderr that may be gone: then there is no reader.
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
