//! The log: what is logged at which level ([`layer`]), how it looks ([`text`], [`journal`]), and
//! how it gets out ([`queue`]).
//!
//! It goes to standard error, a terminal's or a file, or to the journal where standard error is the
//! journal's. A thread that logs never waits for a reader. A panic is a line of the log like any
//! other, for the same reason.

mod follow;
mod journal;
mod layer;
mod level;
mod line;
mod queue;
mod text;

pub use follow::{FollowedLine, LogFollower};
pub use level::{LogLevel, LogSettings};
pub use line::{LogField, LogLine};

use crate::sync::lock;
use follow::RING;
use layer::{LogLayer, LogWants};
use queue::{LogOutput, Queue};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tokio::sync::broadcast;
use tracing::error;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// The target of lines about single connections and UDP sessions, which come by the thousand.
pub const CONNECTIONS: &str = "snet::connection";

/// How long the end of the process waits for a reader of the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long a thread that panics waits: the process may not live to write the line later.
const PANIC: Duration = Duration::from_millis(100);

/// The log of the process; there is one.
#[derive(Clone, Debug)]
pub struct Log {
    verbose: u8,
    lines: Arc<Queue>,
    shared: Arc<Shared>,
}

/// What its followers change too.
#[derive(Debug)]
struct Shared {
    layer: reload::Handle<LogLayer, Registry>,
    followers: broadcast::Sender<Arc<LogLine>>,
    /// How many followers there are, by level.
    counts: Mutex<[usize; LogLevel::ALL.len()]>,
}

/// Its drop waits, for a moment, until the log has been written. To be dropped last.
#[derive(Debug)]
pub struct LastWords(Arc<Queue>);

impl Log {
    /// From here on lines are kept; they come out from [`begin`](Self::begin) on. `verbose` adds to
    /// what the file says.
    pub fn new(settings: LogSettings, verbose: u8) -> Self {
        let (log, subscriber) = Self::build(settings, verbose, LogOutput::of_stderr());
        subscriber.init();
        let hook = Arc::clone(&log.lines);
        std::panic::set_hook(Box::new(move |panic| {
            tell(panic);
            hook.flush_unless_stalled(PANIC);
        }));
        log
    }

    fn build(settings: LogSettings, verbose: u8, output: LogOutput) -> (Self, Subscriber) {
        let lines = Arc::new(Queue::new(output));
        let (followers, _) = broadcast::channel(RING);
        let wants = LogWants { written: settings.more(verbose), followed: None };
        let layer = LogLayer { wants, lines: Arc::clone(&lines), followers: followers.clone() };
        let (layer, handle) = reload::Layer::new(layer);
        let shared = Shared { layer: handle, followers, counts: Mutex::default() };
        let log = Log { verbose, lines, shared: Arc::new(shared) };
        (log, tracing_subscriber::registry().with(layer))
    }

    /// One of a test's own, of this thread alone.
    #[doc(hidden)]
    pub fn of_this_thread(settings: LogSettings) -> (Self, tracing::subscriber::DefaultGuard) {
        let (log, subscriber) = Self::build(settings, 0, LogOutput::of_stderr());
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// What waits to be written, in words; for tests.
    #[doc(hidden)]
    pub fn written(&self) -> Vec<String> {
        self.lines.waiting().iter().map(|line| line.message.clone()).collect()
    }

    /// Starts the thread that writes. Not before rights are given up: a thread copies those of the
    /// one that starts it (capabilities(7)).
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn begin(&self) -> io::Result<()> {
        self.lines.begin(io::stderr())
    }

    /// Other settings.
    pub fn set(&self, settings: LogSettings) {
        let written = settings.more(self.verbose);
        // It fails only where there is no log any more.
        let _ = self.shared.layer.modify(|layer| layer.wants.written = written);
    }

    /// How many lines nobody has read by now, and were dropped.
    pub fn lost(&self) -> u64 {
        self.lines.lost()
    }

    /// To be held for as long as anything may be logged.
    pub fn last_words(&self) -> LastWords {
        LastWords(Arc::clone(&self.lines))
    }
}

/// What hears all that is logged.
type Subscriber = Layered<reload::Layer<LogLayer, Registry>, Registry>;

impl Shared {
    /// One more follower of this level, or one less.
    fn follow(&self, level: LogLevel, is_one_more: bool) {
        let mut counts = lock(&self.counts);
        let count = &mut counts[level as usize];
        *count = if is_one_more { *count + 1 } else { *count - 1 };
        let followed = LogLevel::ALL.into_iter().rfind(|level| counts[*level as usize] > 0);
        let _ = self.layer.modify(|layer| layer.wants.followed = followed);
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        // What ended before there was a thread has something to say too.
        match self.0.begin(io::stderr()) {
            Ok(()) => drop(self.0.flush_to(LAST_LINES, || queue::would_take(&io::stderr()))),
            Err(_) => self.0.write_here(&io::stderr()),
        }
    }
}

fn tell(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let payload = panic.payload();
    let what = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        error!("thread {name} panicked{place}: {what}\n{backtrace}");
    } else {
        error!("thread {name} panicked{place}: {what}");
    }
}

#[cfg(test)]
mod tests;
