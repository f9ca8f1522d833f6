//! The log: what is logged at which level, and how it looks. How it gets out is [`queue`]'s.
//!
//! It goes to standard error, the terminal's or the journal's. A thread that logs never waits for a
//! reader. A panic is a line of the log like any other, for the same reason.

mod queue;

use crate::config::LogLevel;
use queue::Queue;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// How long the end of the process waits for a reader of the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long a thread that panics waits: the process may not live to write the line later.
const PANIC: Duration = Duration::from_millis(100);

/// The log of the process; there is one.
#[derive(Debug)]
pub struct Log {
    verbose: u8,
    filter: reload::Handle<LevelFilter, Registry>,
    lines: Arc<Queue>,
}

/// Its drop waits, for a moment, until the log has been written. To be dropped last.
#[derive(Debug)]
pub struct LastWords(Arc<Queue>);

impl Log {
    /// From here on lines are kept; they come out from [`begin`](Self::begin) on. `verbose` adds to
    /// what the file says.
    pub fn new(level: LogLevel, verbose: u8) -> Self {
        let lines = Arc::new(Queue::default());
        let (level, filter) = reload::Layer::new(filter(level, verbose));
        let format = tracing_subscriber::fmt::layer()
            .log_internal_errors(false)
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .with_writer(Arc::clone(&lines));
        let log = tracing_subscriber::registry().with(level);
        // The journal has a clock of its own.
        if std::env::var_os("JOURNAL_STREAM").is_some() {
            log.with(format.without_time()).init();
        } else {
            log.with(format).init();
        }
        let hook = Arc::clone(&lines);
        std::panic::set_hook(Box::new(move |panic| {
            tell(panic);
            hook.flush_unless_stalled(PANIC);
        }));
        Log { verbose, filter, lines }
    }

    /// Starts the thread that writes. Not before rights are given up: a thread copies those of the
    /// one that starts it (capabilities(7)).
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn begin(&self) -> io::Result<()> {
        self.lines.begin(io::stderr())
    }

    /// Another level.
    pub fn set(&self, level: LogLevel) {
        // It fails only where there is no log any more.
        let _ = self.filter.reload(filter(level, self.verbose));
    }

    /// To be held for as long as anything may be logged.
    pub fn last_words(&self) -> LastWords {
        LastWords(Arc::clone(&self.lines))
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        // What ended before there was a thread has something to say too.
        match self.0.begin(io::stderr()) {
            Ok(()) => drop(self.0.flush(LAST_LINES)),
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

fn filter(level: LogLevel, verbose: u8) -> LevelFilter {
    match (level, verbose) {
        (_, 2..) | (LogLevel::Trace, _) | (LogLevel::Debug, 1) => LevelFilter::TRACE,
        (LogLevel::Debug, 0) | (_, 1) => LevelFilter::DEBUG,
        (LogLevel::Info, 0) => LevelFilter::INFO,
        (LogLevel::Warn, 0) => LevelFilter::WARN,
        (LogLevel::Error, 0) => LevelFilter::ERROR,
    }
}
