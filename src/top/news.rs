//! What `top` waits for: keys, signals, and what the daemon says; a thread each, so that a daemon
//! that is slow holds up no key.

use super::snapshot::{Closing, Snapshot};
use crate::daemon::{ControlReply, Look, Verb, ask};
use crate::view::{FlowView, StatusView};
use nix::sys::signal::{SigSet, Signal};
use ratatui::crossterm::event::{Event, KeyEvent, read};
use serde::de::DeserializeOwned;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Something has happened.
#[derive(Debug)]
pub(super) enum News {
    Key(KeyEvent),
    Resized,
    /// What the daemon said.
    Seen(Box<Snapshot>),
    /// Why it said nothing.
    Lost(String),
    /// What became of connections that were to be closed.
    Closed(String),
    /// A signal, or the terminal is gone.
    Stop,
    /// A thread has ended, which none does while there is somebody to tell.
    Died,
}

/// Waits for everything from now on. Numbers of connections that are to be closed go in, news come
/// out.
///
/// # Errors
/// No thread can be had.
pub(super) fn begin(
    daemon: WatchedDaemon,
    interval: Duration,
) -> io::Result<(Sender<Closing>, Receiver<News>)> {
    let ending = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
    let ending: SigSet = ending.into_iter().collect();
    // Blocked here, and so in every thread that begins from here.
    ending.thread_block()?;
    let (sender, news) = channel();
    let (closing, to_close) = channel();
    spawn("signals", &sender, move |news| {
        if ending.wait().is_ok() {
            news.tell(News::Stop);
            wait_for_the_end();
        }
    })?;
    spawn("keys", &sender, keys)?;
    spawn("daemon", &sender, move |news| daemon.watch(interval, &to_close, news))?;
    Ok((closing, news))
}

/// Where news go. Its drop says that nobody sends any more.
struct Newsroom(Sender<News>);

impl Newsroom {
    /// False: nobody listens any more.
    fn tell(&self, news: News) -> bool {
        self.0.send(news).is_ok()
    }
}

impl Drop for Newsroom {
    fn drop(&mut self) {
        self.tell(News::Died);
    }
}

fn spawn(
    name: &str,
    news: &Sender<News>,
    work: impl FnOnce(&Newsroom) + Send + 'static,
) -> io::Result<()> {
    let newsroom = Newsroom(news.clone());
    let thread = thread::Builder::new().name(name.into());
    thread.spawn(move || work(&newsroom)).map(drop)
}

fn keys(news: &Newsroom) {
    let stop = loop {
        let told = match read() {
            Ok(Event::Key(key)) => news.tell(News::Key(key)),
            Ok(Event::Resize(..)) => news.tell(News::Resized),
            Ok(_) => true,
            Err(_) => break News::Stop,
        };
        if !told {
            return;
        }
    };
    news.tell(stop);
    wait_for_the_end();
}

/// The program is about to end.
fn wait_for_the_end() {
    loop {
        thread::park();
    }
}

/// The running snet, as it is seen from here.
#[derive(Debug)]
pub(super) struct WatchedDaemon {
    socket: PathBuf,
    began: Instant,
}

impl WatchedDaemon {
    pub(super) fn new(socket: PathBuf) -> Self {
        WatchedDaemon { socket, began: Instant::now() }
    }

    /// Asks for everything.
    ///
    /// # Errors
    /// In words: nothing answers, or another version.
    pub(super) fn look(&self) -> Result<Snapshot, String> {
        let status: StatusView = self.json(Look::Status)?;
        let flows: Vec<FlowView> = self.json(Look::Flows)?;
        Ok(Snapshot { at: self.began.elapsed(), status, flows })
    }

    fn json<T: DeserializeOwned>(&self, look: Look) -> Result<T, String> {
        let said = match self.ask(&Verb::Look(look))? {
            ControlReply::Done(said) => said,
            ControlReply::Refused(_, why) => return Err(format!("snet refuses: {why}")),
        };
        serde_json::from_str(&said)
            .map_err(|error| format!("the snet that runs is another version ({error}): restart it"))
    }

    fn ask(&self, verb: &Verb) -> Result<ControlReply, String> {
        let socket = self.socket.display();
        ask(&self.socket, verb).map_err(|error| format!("no snet answers at {socket}: {error}"))
    }

    /// Asks again and again, and closes what is to be closed.
    fn watch(&self, interval: Duration, to_close: &Receiver<Closing>, news: &Newsroom) {
        let mut next = Instant::now() + interval;
        loop {
            let is_heard =
                match to_close.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Ok(which) => {
                        let said = self.close(&which).unwrap_or_else(|why| why);
                        news.tell(News::Closed(said))
                    }
                    Err(RecvTimeoutError::Timeout) => true,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
            next = Instant::now() + interval;
            let looked = match self.look() {
                Ok(snapshot) => News::Seen(Box::new(snapshot)),
                Err(why) => News::Lost(format!("asking again: {why}")),
            };
            if !(is_heard && news.tell(looked)) {
                return;
            }
        }
    }

    /// What became of it, in words.
    fn close(&self, which: &Closing) -> Result<String, String> {
        let status: StatusView = self.json(Look::Status)?;
        if status.pid != which.pid {
            return Err("nothing was closed: another snet runs by now".into());
        }
        let mut closed = 0;
        let mut last_refusal = None;
        for id in &which.ids {
            match self.ask(&Verb::Close(*id))? {
                ControlReply::Done(_) => closed += 1,
                ControlReply::Refused(_, why) => last_refusal = Some(why),
            }
        }
        Ok(match (closed, last_refusal) {
            (0, Some(why)) => why,
            (1, None) => "closed it".into(),
            (_, None) => format!("closed {closed}"),
            (_, Some(why)) => format!("closed {closed}; {why}"),
        })
    }
}
