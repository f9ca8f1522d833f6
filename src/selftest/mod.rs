//! `snet selftest`: a sealed little internet on this very kernel, and the real daemon in it.
//!
//! Theory of operation. The command runs itself again, with a hidden subcommand, as three
//! processes:
//!
//! - the *cell* leaves the host's namespaces ([`cell`]) and starts the machine as the first
//!   process of a pid namespace, so that everything ends with it;
//! - the *machine* joins two hosts by a cable, starts the daemon, makes the trials ([`trials`])
//!   and prints the table;
//! - the *internet* is the other end of the cable: sites, proxies, name servers, a forger
//!   ([`internet`]).
//!
//! Invariant: before a rule is set or a packet sent, the process has seen that its network
//! namespace is not the one it was started in and that no route leads out of it. And it ends: when
//! one trial takes longer than [`PATIENCE`] the machine gives up, and everything goes with it.

mod cell;
mod client;
mod daemon;
mod datagrams;
mod hosts;
mod internet;
mod table;
mod tables;
mod tools;
mod trials;
mod unmarked;
mod world;

use crate::exit::UNAVAILABLE;
use crate::firewall::{self, Backend};
use hosts::{Internet, host_command};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};
use table::{TrialProgress, TrialTable, TrialVerdict};

/// The hidden subcommand that plays one host.
pub const HOST_COMMAND: &str = "selftest-host";

/// More than one trial takes on the slowest router. (All of them took longer on an emulated machine
/// beside a busy compiler.)
const PATIENCE: Duration = Duration::from_secs(40);

/// So many of the daemon's last words are shown when a trial fails.
const LAST_WORDS: usize = 15;

/// Why the selftest cannot take place, as opposed to failing.
#[derive(Debug, thiserror::Error)]
enum Unable {
    #[error("selftest needs {tool}, which is not installed: `apt install {package}`")]
    Missing { tool: &'static str, package: &'static str },
    #[error(transparent)]
    Cell(#[from] cell::Error),
    #[error("still in the host's network: nothing was tried")]
    NotSealed,
    #[error("cannot run {tool}: {source}")]
    Tool { tool: &'static str, source: io::Error },
    #[error("{what}: {source}")]
    Trial { what: &'static str, source: io::Error },
    #[error(transparent)]
    Firewall(#[from] firewall::Error),
}

/// Runs the selftest; called in plain `main`. Without a backend: with each that can be had here,
/// one after the other. Exit code 0: all is well; 1: a trial failed; 69: it could not take place,
/// and one line says why.
pub fn run(backend: Option<Backend>) -> ExitCode {
    let backends = match backend {
        Some(backend) => vec![backend],
        None if tools::require(Backend::Iptables).is_ok() => {
            vec![Backend::Iptables, Backend::Nftables]
        }
        None => vec![Backend::Nftables],
    };
    let mut worst = ExitCode::SUCCESS;
    for backend in backends {
        let end = run_with(backend);
        if end == ExitCode::from(UNAVAILABLE) {
            // What this kernel or this user lacks is lacking for the next one too.
            return end;
        }
        if end != ExitCode::SUCCESS {
            worst = end;
        }
    }
    worst
}

fn run_with(backend: Backend) -> ExitCode {
    if let Err(missing) = tools::require(backend) {
        return unable(&missing);
    }
    if backend == Backend::Iptables {
        // As the daemon does; in the cell nothing can be loaded.
        firewall::load_iptables_modules();
    }
    let cell = cell::network()
        .and_then(|host| host_command(["cell", &host, &backend.to_string()]).spawn())
        .and_then(|mut cell| cell.wait());
    match cell {
        Ok(status) => passed_on(status),
        Err(source) => unable(&Unable::Tool { tool: "/proc/self/exe", source }),
    }
}

/// Plays one host: the hidden subcommand.
pub fn host(arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let played = match words.as_slice() {
        ["cell", network, backend] => play_cell(network, backend),
        ["machine", network, backend] => match backend.parse() {
            Ok(backend) => play_machine(network, backend),
            Err(()) => return ExitCode::FAILURE,
        },
        ["internet", network] => play_internet(network).map(|()| ExitCode::SUCCESS),
        _ => return ExitCode::FAILURE,
    };
    played.unwrap_or_else(|reason| unable(&reason))
}

fn play_cell(host_network: &str, backend: &str) -> Result<ExitCode, Unable> {
    die_with_parent()?;
    cell::leave_host()?;
    let status = host_command(["machine", host_network, backend])
        .status()
        .map_err(|source| Unable::Tool { tool: "/proc/self/exe", source })?;
    Ok(passed_on(status))
}

fn play_machine(host_network: &str, backend: Backend) -> Result<ExitCode, Unable> {
    die_with_parent()?;
    require_sealed(host_network)?;
    if backend == Backend::Nftables {
        firewall::try_nftables()?;
    }
    let progress = TrialProgress::default();
    let watched = progress.clone();
    thread::spawn(move || give_up(&watched, backend));
    let began = Instant::now();
    let has_ipv6 = has_ipv6();
    let _internet = Internet::connect(has_ipv6)?;

    // Which table is which, where there are two.
    let _ = writeln!(io::stdout(), "\nWith the backend {backend}:\n");
    let mut table = TrialTable::new(progress);
    let result = trials::run(&mut table, backend, has_ipv6);
    let is_well = result.is_ok() && table.count(TrialVerdict::Failed) == 0;
    if !is_well {
        print_last_words();
    }
    result?;
    println!(
        "selftest: {table} in {:.1} s on {}",
        began.elapsed().as_secs_f32(),
        tools::platform(backend)
    );
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends this process, and so all the others, if a trial hangs.
fn give_up(progress: &TrialProgress, backend: Backend) {
    while let Some(left) = PATIENCE.checked_sub(progress.since()) {
        thread::sleep(left.max(Duration::from_millis(100)));
    }
    // Held to the end, so that no row comes behind the last line.
    let _table = io::stdout().lock();
    print_last_words();
    println!(
        "selftest: a trial was not done after {} s on {}",
        PATIENCE.as_secs(),
        tools::platform(backend)
    );
    std::process::exit(1);
}

fn play_internet(host_network: &str) -> Result<(), Unable> {
    die_with_parent()?;
    cell::leave_network()?;
    require_sealed(host_network)?;
    let trial = |what| move |source| Unable::Trial { what, source };
    let namespace = cell::network_path().map_err(trial("its namespace"))?;
    say(&format!("unshared {namespace}"))?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(trial("waiting for the cable"))?;
    let has_ipv6 = has_ipv6();
    hosts::ip(&world::internet_commands(has_ipv6))?;
    let ready = || drop(say("ready"));
    internet::run(has_ipv6, ready).map_err(trial("the internet"))
}

fn say(word: &str) -> Result<(), Unable> {
    writeln!(io::stdout(), "{word}")
        .map_err(|source| Unable::Trial { what: "speaking to the machine", source })
}

/// The exit code of a child; a process that was killed has none, and that is a failure too.
fn passed_on(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1).into()
}

/// Believes neither the name alone, which may have been typed by hand, nor the routes.
fn require_sealed(outside: &str) -> Result<(), Unable> {
    match (cell::network(), cell::is_in_use()) {
        (Ok(network), Ok(false)) if network != outside => Ok(()),
        _ => Err(Unable::NotSealed),
    }
}

fn die_with_parent() -> Result<(), Unable> {
    set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| Unable::Trial { what: "prctl", source: errno.into() })
}

fn has_ipv6() -> bool {
    let disabled = fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    Path::new("/proc/self/net/if_inet6").exists() && disabled.is_ok_and(|text| text.trim() == "0")
}

/// What a report of a failure needs beside the table.
fn print_last_words() {
    let log = daemon::log();
    let lines: Vec<&str> = log.lines().collect();
    println!("\nThe daemon's last words:");
    for line in lines.iter().rev().take(LAST_WORDS).rev() {
        println!("  {line}");
    }
    println!("\nIf this is a fault of snet, please report all of the above and the next line.");
}

fn unable(reason: &Unable) -> ExitCode {
    eprintln!("selftest: {reason}");
    ExitCode::from(UNAVAILABLE)
}
