//! The life of a plugin's process: started, waited for, started again after a rest that grows. Runs
//! in a thread of its own until it is told to stop.

use super::output::LogLimit;
use super::process::PluginProcess;
use super::spec::PluginSpec;
use super::{Launcher, ServerAddresses};
use crate::warnings::Complaint;
use std::fmt;
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{debug, info};

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
        let (mut rest, mut failing) = (FIRST_REST, PluginFailures::default());
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
                    debug!("plugin {program}: {why}; started again in {seconds} s");
                    failing.add(program, why.clone(), rest);
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

    fn run_once(&self, server: SocketAddr, failing: &mut PluginFailures) -> RunEnd {
        let begun = PluginProcess::begin(&self.spec, &self.launcher, server, &self.limit);
        let mut process = match begun {
            Ok(process) => process,
            Err(error) => return RunEnd::Failed(format!("it cannot be started: {error}")),
        };
        let deadline = Instant::now() + START_LIMIT;
        let (mut is_ready, mut ready_since) = (false, Instant::now());
        loop {
            if is_ready && ready_since.elapsed() >= STEADY {
                failing.are_over();
            }
            // First: a port that accepts while the plugin is gone is another program's.
            let accepts = is_ready || process.accepts();
            if let Some(how) = process.ended() {
                let hint = if is_ready { "" } else { self.hint() };
                return RunEnd::Failed(format!("{how}{hint}"));
            }
            if accepts && !is_ready {
                is_ready = true;
                ready_since = Instant::now();
                failing.is_ready(self.spec.program());
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

/// A plugin that ends again and again: one warning, until it has run steadily.
#[derive(Debug, Default)]
struct PluginFailures {
    times: u32,
    last: String,
    told: Complaint,
}

impl PluginFailures {
    fn add(&mut self, program: &str, why: String, rest: Duration) {
        (self.times, self.last) = (self.times.saturating_add(1), why);
        self.tell(program, &format!("started again in {} s", rest.as_secs_f32()));
    }

    /// It runs, and may end again.
    fn is_ready(&mut self, program: &str) {
        if self.times > 0 {
            self.tell(program, "it runs again for now");
        }
    }

    fn are_over(&mut self) {
        self.times = 0;
        self.told.clear();
    }

    fn tell(&mut self, program: &str, now: &str) {
        let PluginFailures { times, last, .. } = self;
        let times = if *times > 1 { format!(" ({times} times by now)") } else { String::new() };
        self.told.set_quietly(format!("plugin {program}: {last}{times}; {now}"));
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({})", self.spec.program())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Log, LogSettings};
    use crate::warnings;

    #[test]
    fn a_plugin_that_fails_again_and_again_is_one_warning() {
        let (log, _guard) = Log::of_this_thread(LogSettings::default());
        let standing = || {
            let all = warnings::standing().into_iter().map(|it| it.text);
            all.filter(|it| it.starts_with("plugin flapping: ")).collect::<Vec<_>>()
        };
        let mut failures = PluginFailures::default();
        failures.is_ready("flapping");
        assert!(standing().is_empty());
        failures.add("flapping", "it ended at 12:00".into(), FIRST_REST);
        failures.is_ready("flapping");
        failures.add("flapping", "it ended at 12:01".into(), FIRST_REST * 2);
        let again = "plugin flapping: it ended at 12:01 (2 times by now); started again in 1 s";
        assert_eq!(standing(), [again]);
        failures.is_ready("flapping");
        assert!(standing()[0].ends_with("; it runs again for now"), "{:?}", standing());
        failures.are_over();
        assert!(standing().is_empty());
        failures.add("flapping", "it ended at 13:00".into(), FIRST_REST);
        assert_eq!(log.written().len(), 2, "{:?}", log.written());
    }
}
