//! A flow that talks all the time, and remembers what was not answered.

use super::talker::Talker;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// As often as a call or a game that rests.
pub const TEN_A_SECOND: Duration = Duration::from_millis(100);

/// What was asked last is waited for so long.
const LAST: Duration = Duration::from_secs(2);

/// What it asks, by number; the answer begins with the same two bytes.
type Question = fn(u16) -> Vec<u8>;

/// A program with one socket; it ends when it is asked to, or dropped.
#[derive(Debug)]
pub struct Chatter {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Chat>>,
}

/// What it has to tell.
#[derive(Debug)]
pub struct Chat {
    pub site: SocketAddr,
    pub sent: u16,
    /// The questions that nothing answered.
    pub lost: Vec<u16>,
    /// Sends that failed.
    pub refused: Vec<(u16, io::ErrorKind)>,
}

impl Chatter {
    /// Asks an echo service.
    pub fn echo(place: Option<&str>, site: SocketAddr) -> Self {
        Chatter::start(place, site, |number| [&number.to_be_bytes()[..], &[7; 100]].concat())
    }

    pub fn start(place: Option<&str>, site: SocketAddr, question: Question) -> Self {
        let talker = Talker::of(place, site);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || chat(&talker, question, &stopped));
        Chatter { stop, thread: Some(thread) }
    }

    /// Asks no more, waits for the last answers, and tells.
    pub fn end(mut self) -> Chat {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it ends once");
        thread.join().expect("a chat does not fail")
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Chat {
    /// Fails if a single question was not answered.
    pub fn must_be_whole(&self, context: &str) {
        let Chat { site, sent, lost, refused } = self;
        assert!(*sent > 0, "{context}: {site}: nothing was sent");
        assert!(
            lost.is_empty() && refused.is_empty(),
            "{context}: {site}: of {sent} lost {lost:?}, refused {refused:?}"
        );
    }
}

fn chat(talker: &Talker, question: Question, stopped: &AtomicBool) -> Chat {
    let mut chat = Chat { site: talker.site, sent: 0, lost: Vec::new(), refused: Vec::new() };
    let mut next = Instant::now();
    while !stopped.load(Ordering::Relaxed) && chat.sent < u16::MAX {
        let number = chat.sent;
        match talker.send(&question(number)) {
            Ok(_) => chat.lost.push(number),
            Err(error) => chat.refused.push((number, error.kind())),
        }
        chat.sent += 1;
        next += TEN_A_SECOND;
        hear(talker, &mut chat.lost, next, false);
    }
    hear(talker, &mut chat.lost, Instant::now() + LAST, true);
    chat
}

/// Takes answers until then, or until none is missing.
fn hear(talker: &Talker, lost: &mut Vec<u16>, until: Instant, is_last: bool) {
    let mut buffer = [0; 2048];
    while let Some(rest) = until.checked_duration_since(Instant::now()) {
        if lost.is_empty() {
            if !is_last {
                sleep(rest);
            }
            return;
        }
        let rest = rest.max(Duration::from_millis(1));
        talker.socket.set_read_timeout(Some(rest)).expect("a socket");
        let Ok((length, from)) = talker.socket.recv_from(&mut buffer) else { continue };
        if length >= 2 && from == talker.site {
            let number = u16::from_be_bytes([buffer[0], buffer[1]]);
            lost.retain(|lost| *lost != number);
        }
    }
}
