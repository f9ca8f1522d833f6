//! Plugins (SIP003, <https://shadowsocks.org/doc/sip003.html>): programs that stand between snet
//! and a shadowsocks server, and dress the connection as something else.
//!
//! Theory of operation. A [`Plugin`] is a child process that listens on a port of 127.0.0.1 and
//! carries what comes there to its server. One thread for each of them, the keeper, starts it,
//! waits until its port accepts, hands its words to the log, and starts it again when it ends,
//! after a rest that grows. The thread has to be one of its own: to the kernel a process's parent
//! is the thread that made it, and the child dies with that (PR_SET_PDEATHSIG(2const)).
//!
//! The child is first snet itself ([`child`]), which gives up every right and then becomes the
//! plugin. It ends with us also after SIGKILL. It is told the server's address and never its name:
//! a plugin would resolve that by itself, and could arrive where no rule of ours lets it pass. Its
//! sockets have no mark; they are not captured because the server's address is not.
//!
//! The proxy holds its plugin, and each connection its proxy: what a reload leaves out goes on
//! until its last connection has ended.
//!
//! A plugin that does not run fails every dial of its proxy at once, with its last words. Only TCP
//! goes through it.
//!
//! | file | subject |
//! |---|---|
//! | `spec` | which program, with which options |
//! | `keeper` | the life of the process |
//! | `process` | one run of it: begin, listen, end |
//! | `output` | its words |
//! | `child` | what the child does before it is the plugin |

pub mod child;
pub mod spec;

mod keeper;
mod output;
mod process;

use crate::sync::lock;
use keeper::{Keeper, State};
use spec::PluginSpec;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, mpsc};
use std::thread;
use tokio::sync::watch;
use tracing::warn;

/// Where the plugin's server is: the addresses known at the moment, best first.
pub type ServerAddresses = Box<dyn Fn() -> Vec<SocketAddr> + Send>;

/// What starts a program without rights: a program, and what stands before its own arguments.
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Launcher {
    /// This very program; see [`child`].
    pub fn own() -> Self {
        let arguments = vec![child::COMMAND.into(), std::process::id().to_string().into()];
        // By this name also after an upgrade has put another file in its place.
        Launcher { program: "/proc/self/exe".into(), arguments }
    }
}

/// Why a plugin cannot be used: what became of it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotRunning(String);

/// A plugin of one server. Its process ends when this is dropped.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    goes_by_tcp: bool,
    state: watch::Receiver<State>,
    /// Until it is started.
    keeper: Mutex<Option<Keeper>>,
    /// Dropped, it tells the keeper to stop.
    stop: Mutex<Option<mpsc::Sender<()>>>,
}

impl Plugin {
    /// A plugin that is not started yet.
    pub fn new(spec: PluginSpec, server: ServerAddresses, launcher: Launcher) -> Self {
        let (telling, state) = watch::channel(State::Starting);
        let (stop, stopped) = mpsc::channel();
        let (name, goes_by_tcp) = (spec.program().to_owned(), spec.goes_by_tcp());
        let keeper = Keeper::new(spec, server, launcher, telling, stopped);
        let (keeper, stop) = (Mutex::new(Some(keeper)), Mutex::new(Some(stop)));
        Plugin { name, goes_by_tcp, state, keeper, stop }
    }

    /// The program.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its way to the server is surely TCP.
    pub fn goes_by_tcp(&self) -> bool {
        self.goes_by_tcp
    }

    /// Starts it, if it is not.
    pub fn start(&self) {
        let Some(keeper) = lock(&self.keeper).take() else { return };
        let thread = thread::Builder::new().name("plugin".into());
        if let Err(error) = thread.spawn(move || keeper.run()) {
            // The keeper is gone with the closure: dials are told that it is stopped.
            warn!("plugin {}: there is no thread for it: {error}", self.name);
        }
    }

    /// Tells it to end, for good; [`is_gone`](Self::is_gone) waits for that.
    pub fn stop(&self) {
        lock(&self.keeper).take();
        lock(&self.stop).take();
    }

    /// Waits until its process has ended after [`stop`](Self::stop), which takes a second at most.
    pub async fn is_gone(&self) {
        let mut state = self.state.clone();
        // An error: the keeper is gone, and it has ended the process before.
        while state.changed().await.is_ok() {}
    }

    /// Where it listens. Waits while it starts, but not while it rests after an end; starts it if
    /// that was not done.
    ///
    /// # Errors
    /// It does not run, and why.
    pub async fn address(&self) -> Result<SocketAddr, NotRunning> {
        self.start();
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Starting)).await;
        match known.as_deref() {
            Ok(State::Ready(address)) => Ok(*address),
            Ok(State::Down(why)) => Err(NotRunning(why.clone())),
            Ok(State::Starting) | Err(_) => Err(NotRunning("it is stopped".into())),
        }
    }
}

#[cfg(test)]
mod tests;
