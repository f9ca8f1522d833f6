//! The life of a plugin's process: started, waited for, started again after a rest that grows. Runs
//! in a thread of its own until it is told to stop.

use super::output::LogLimit;
use super::process::PluginProcess;
use super::spec::PluginSpec;
use super::{Launcher, ServerAddresses};
use crate::warnings::StandingWarning;
use std::fmt;
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::info;

/// How long a plugin has until its port accepts.
const START_LIMIT: Duration = Duration::from_secs(10);

const FIRST_REST: Duration = Duration::from_millis(500);

const LONGEST_REST: Duration = Duration::from_secs(60);

/// One that ran so long begins with the first rest again.
const STEADY: Duration = Duration::from_secs(60);

/// How often a plugin that starts is asked, and one that runs is looked at.
const STARTING_STEP: Duration = Duration::from_millis(20);
const RUNNING_STEP: Duration = Duration::from_millis(250);

/// What dials are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// For the first time, or for another address of its server: worth waiting for.
    Starting,
    /// It listens there.
    Ready(SocketAddr),
    /// It does not run, and why.
    Down(String),
}

pub(super) struct Keeper {
    spec: PluginSpec,
    server: ServerAddresses,
    launcher: Launcher,
    state: watch::Sender<State>,
    stopped: mpsc::Receiver<()>,
    limit: LogLimit,
}

/// Why a run is over.
enum RunEnd {
    Stopped,
    /// The server is no longer where the plugin was told.
    Moved,
    Failed(String),
}

impl Keeper {
    pub(super) fn new(
        spec: PluginSpec,
        server: ServerAddresses,
        launcher: Launcher,
        state: watch::Sender<State>,
        stopped: mpsc::Receiver<()>,
    ) -> Self {
        Keeper { spec, server, launcher, state, stopped, limit: LogLimit::new() }
    }

    pub(super) fn run(self) {
        let program = self.spec.program();
        let (mut rest, mut failing) = (FIRST_REST, None);
        while let Some(server) = self.server_address() {
            let began = Instant::now();
            match self.run_once(server, &mut failing) {
                RunEnd::Stopped => return,
                RunEnd::Moved => {
                    info!("plugin {program}: its server has another address now");
                    self.state.send_replace(State::Starting);
                }
                RunEnd::Failed(why) => {
                    if began.elapsed() >= STEADY {
                        rest = FIRST_REST;
                    }
                    let seconds = rest.as_secs_f32();
                    let told = format!("plugin {program}: {why}; started again in {seconds} s");
                    failing = Some(StandingWarning::raise(told));
                    self.state.send_replace(State::Down(why));
                    if self.is_stopped_within(rest) {
                        return;
                    }
                    rest = (rest * 2).min(LONGEST_REST);
                }
            }
        }
    }

    /// Waits for one. `None`: it is to stop.
    fn server_address(&self) -> Option<SocketAddr> {
        loop {
            if let Some(address) = (self.server)().into_iter().next() {
                return Some(address);
            }
            let why = "its server's name is not resolved: no name server has given an address";
            self.state.send_replace(State::Down(why.into()));
            if self.is_stopped_within(RUNNING_STEP) {
                return None;
            }
        }
    }

    fn run_once(&self, server: SocketAddr, failing: &mut Option<StandingWarning>) -> RunEnd {
        let begun = PluginProcess::begin(&self.spec, &self.launcher, server, &self.limit);
        let mut process = match begun {
            Ok(process) => process,
            Err(error) => return RunEnd::Failed(format!("it cannot be started: {error}")),
        };
        let deadline = Instant::now() + START_LIMIT;
        let mut is_ready = false;
        loop {
            // First: a port that accepts while the plugin is gone is another program's.
            let accepts = is_ready || process.accepts();
            if let Some(how) = process.ended() {
                let hint = if is_ready { "" } else { self.hint() };
                return RunEnd::Failed(format!("{how}{hint}"));
            }
            if accepts && !is_ready {
                is_ready = true;
                *failing = None;
                info!("plugin {}: ready on {} for {server}", self.spec.program(), process.local);
                self.state.send_replace(State::Ready(process.local));
            }
            if !accepts && Instant::now() > deadline {
                let seconds = START_LIMIT.as_secs();
                let words = process.last_words();
                return RunEnd::Failed(format!("its port did not accept for {seconds} s{words}"));
            }
            if is_ready && !(self.server)().contains(&server) {
                return RunEnd::Moved;
            }
            if self.is_stopped_within(if is_ready { RUNNING_STEP } else { STARTING_STEP }) {
                return RunEnd::Stopped;
            }
        }
    }

    /// The usual reason of one that never listened: simple-obfs then prints its usage, the end of
    /// which says nothing.
    fn hint(&self) -> &'static str {
        match self.spec.options().expose() {
            [] => " (does it want plugin-options?)",
            _ => "",
        }
    }

    fn is_stopped_within(&self, time: Duration) -> bool {
        self.stopped.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({})", self.spec.program())
    }
}
