//! The signals that ask the daemon to stop, or to read its configuration again.
//!
//! SIGHUP has two meanings: the terminal is gone, and, for daemons, which have none, "read your
//! file again". A snet that was started in a terminal stops: a closed window ends what runs in it.
//! It is decided at the start, since later the two look the same: sudo passes the signal on while
//! the terminal that it made is still there.

use nix::sys::signal;
use std::fs::{self, File};
use std::io::{self, IsTerminal};
use tokio::signal::unix::{Signal, SignalKind, signal};

const TERMINAL_HANGUP: &str = "SIGHUP (in a terminal it stops; `snet reload` reloads)";

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalMeaning {
    /// To stop; the name of the signal.
    Stop(&'static str),
    /// SIGHUP.
    Reload,
}

/// Handlers are in place from [`Signals::new`] on: a signal during the start is kept until it
/// waits for it.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    /// SIGHUP asks to stop.
    in_terminal: bool,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        // Before a handler takes the place of what was inherited.
        let in_terminal = is_in_terminal() && !ignores_hangup();
        Ok(Signals {
            in_terminal,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> SignalMeaning {
        tokio::select! {
            _ = self.terminate.recv() => SignalMeaning::Stop("SIGTERM"),
            _ = self.interrupt.recv() => SignalMeaning::Stop("SIGINT"),
            _ = self.quit.recv() => SignalMeaning::Stop("SIGQUIT"),
            _ = self.hangup.recv() => match self.in_terminal {
                true => SignalMeaning::Stop(TERMINAL_HANGUP),
                false => SignalMeaning::Reload,
            }
        }
    }

    /// Waits for one that asks to stop and names it. A terminal that goes sends SIGHUP more than
    /// once: the second is no order to hurry.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            match self.next().await {
                SignalMeaning::Stop(name) if !name.starts_with("SIGHUP") => return name,
                SignalMeaning::Stop(_) | SignalMeaning::Reload => {}
            }
        }
    }
}

/// It has a controlling terminal (tty(4) is only there then) and uses one.
fn is_in_terminal() -> bool {
    File::open("/dev/tty").is_ok() && (io::stdin().is_terminal() || io::stderr().is_terminal())
}

/// nohup(1), and `trap '' HUP`: it was started to outlive the terminal.
fn ignores_hangup() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignored(&status) & HANGUP != 0)
}

/// SIGHUP in a mask of signals (proc_pid_status(5), SigIgn).
const HANGUP: u64 = 1 << (signal::Signal::SIGHUP as u64 - 1);

fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        let status = |mask| format!("Name:\tsnet\nSigBlk:\t00000000000000ff\nSigIgn:\t{mask}\n");
        assert_eq!(ignored(&status("0000000000001001")) & HANGUP, HANGUP);
        assert_eq!(ignored(&status("0000000000001000")) & HANGUP, 0);
        assert_eq!(ignored("Name:\tsnet\n"), 0);
    }
}
