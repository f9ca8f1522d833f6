//! `snet top`: every connection of the running snet in a terminal, each second.
//!
//! | file | what |
//! |---|---|
//! | `snapshot`, `rates` | what the daemon said, and how fast bytes flow |
//! | `line`, `model` | what is shown, and in which order |
//! | `keys` | what a key asks for |
//! | `draw` | the model onto the screen |
//! | `news` | threads that wait for keys, signals and the daemon |
//! | `screen` | takes the terminal, and gives it back |
//!
//! All but the last two are pure. One thread draws; it never waits for the daemon.

mod draw;
mod keys;
mod line;
mod model;
mod news;
mod rates;
#[cfg(test)]
mod samples;
mod screen;
mod snapshot;

use crate::exit::{SOFTWARE, UNAVAILABLE, USAGE};
use draw::{Paint, draw};
use keys::action;
use model::{TopEffect, TopModel};
use news::{News, WatchedDaemon};
use screen::Screen;
use snapshot::Closing;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// So long after it should have answered, a daemon that is there is said to be silent.
const SILENCE: Duration = Duration::from_secs(5);

/// What to watch.
#[derive(Clone, Debug)]
pub struct TopOptions {
    /// The control socket of the daemon.
    pub socket: PathBuf,
    /// How often it is asked.
    pub interval: Duration,
}

/// Why nothing is shown, or no more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Standard output is a file or a pipe.
    #[error(
        "`snet top` draws on a terminal, and its standard output is none; for programs there is \
         `snet status --json`"
    )]
    NoTerminal,
    /// No daemon answers at the start.
    #[error("{0}")]
    NoDaemon(String),
    /// It cannot be set up, or drawn on.
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
    /// A thread has panicked, and said so.
    #[error("a bug of snet has ended it")]
    Bug,
}

impl Error {
    /// As in [`exit`](crate::exit).
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::NoTerminal => USAGE,
            Error::NoDaemon(_) | Error::Terminal(_) => UNAVAILABLE,
            Error::Bug => SOFTWARE,
        }
    }
}

/// Shows connections until the operator quits, or a signal ends it. The terminal is as it was then.
///
/// # Errors
/// See [`Error`]. A daemon that goes away later is none: it is asked again until it is back.
pub fn run(options: TopOptions) -> Result<(), Error> {
    if !io::stdout().is_terminal() {
        return Err(Error::NoTerminal);
    }
    let interval = options.interval;
    let daemon = WatchedDaemon::new(options.socket);
    let mut model = TopModel::default();
    // Before the screen is taken: who lacks a daemon or the right to ask is told in plain text.
    model.take(daemon.look().map_err(Error::NoDaemon)?);
    let (closing, news) = news::begin(daemon, interval)?;
    let screen = Screen::take()?;
    show(screen, model, &closing, &news, interval + SILENCE)
}

fn show(
    mut screen: Screen,
    mut model: TopModel,
    closing: &Sender<Closing>,
    news: &Receiver<News>,
    patience: Duration,
) -> Result<(), Error> {
    let paint = Paint { has_colours: has_colours() };
    let mut heard = Instant::now();
    loop {
        screen.draw(|frame| draw(frame, &mut model, paint))?;
        let first = match news.recv_timeout(patience) {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Bug),
        };
        // What has come meanwhile is drawn at once.
        for news in first.into_iter().chain(news.try_iter()) {
            match news {
                News::Key(key) => {
                    let action = action(&model.mode, key);
                    match action.map_or(TopEffect::Nothing, |action| model.act(action)) {
                        TopEffect::Nothing => {}
                        TopEffect::Quit => return Ok(()),
                        TopEffect::Redraw => screen.wipe()?,
                        // It is there as long as we are.
                        TopEffect::Close(which) => drop(closing.send(which)),
                    }
                }
                News::Resized => {}
                News::Closed(said) => model.said = Some(said),
                News::Seen(snapshot) => {
                    heard = Instant::now();
                    model.take(*snapshot);
                }
                News::Lost(why) => {
                    heard = Instant::now();
                    model.lose(why);
                }
                News::Stop => return Ok(()),
                News::Died => return Err(Error::Bug),
            }
        }
        if heard.elapsed() > patience {
            model.lost = Some(format!("snet is silent for {} s", heard.elapsed().as_secs()));
        }
    }
}

/// Whether the terminal has colours, and the operator wants them (no-color.org).
fn has_colours() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_plain = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    !is_unwanted && !is_plain
}
