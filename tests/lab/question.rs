//! Queries by the thousand: a client of the resolver that keeps many of them in flight and reads
//! the addresses in the answers. (dig asks one at a time, and takes a process for it.)

use crate::world::Family;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How many wait for their answers at a time.
const WINDOW: usize = 64;

/// One that is asked for nothing within this time is lost.
const PATIENCE: Duration = Duration::from_secs(10);

pub const HTTPS: u16 = 65;

/// A question and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub code: u8,
    pub addresses: Vec<IpAddr>,
}

pub fn kind(family: Family) -> u16 {
    if family == Family::V4 { 1 } else { 28 }
}

/// A query (RFC 1035, section 4.1).
pub fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).expect("a short label"));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// Asks `count` questions and hands every answer, with the number of its question, to `look`.
/// Returns the longest time that one took.
pub fn ask_all(
    server: SocketAddr,
    count: u32,
    question: impl Fn(u32) -> (String, u16),
    mut look: impl FnMut(u32, Answer),
) -> Duration {
    let socket = UdpSocket::bind(SocketAddr::new(
        if server.is_ipv4() { "0.0.0.0" } else { "::" }.parse().expect("an address"),
        0,
    ))
    .expect("a socket");
    socket.connect(server).expect("a way");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut waiting: HashMap<u16, (u32, Instant)> = HashMap::new();
    let (mut next, mut longest) = (0, Duration::ZERO);
    let mut buffer = [0; 2048];
    while next < count || !waiting.is_empty() {
        while next < count && waiting.len() < WINDOW {
            let id = u16::try_from(next % 65_536).expect("a remainder");
            let (name, kind) = question(next);
            socket.send(&query(id, &name, kind)).expect("the resolver listens");
            waiting.insert(id, (next, Instant::now()));
            next += 1;
        }
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| {
            panic!("{error}: {} questions without an answer", waiting.len())
        });
        let message = &buffer[..length];
        let id = u16::from_be_bytes([message[0], message[1]]);
        let (number, asked) = waiting.remove(&id).expect("an answer to a question, and once");
        longest = longest.max(asked.elapsed());
        look(number, read(message));
    }
    longest
}

/// The code and the addresses of an answer.
pub fn read(message: &[u8]) -> Answer {
    let count = u16::from_be_bytes([message[6], message[7]]);
    let mut at = end_of_name(message, 12) + 4;
    let mut addresses = Vec::new();
    for _ in 0..count {
        at = end_of_name(message, at);
        let kind = u16::from_be_bytes([message[at], message[at + 1]]);
        let length = usize::from(u16::from_be_bytes([message[at + 8], message[at + 9]]));
        let data = &message[at + 10..at + 10 + length];
        match kind {
            1 => addresses.extend(<[u8; 4]>::try_from(data).map(IpAddr::from)),
            28 => addresses.extend(<[u8; 16]>::try_from(data).map(IpAddr::from)),
            _ => {}
        }
        at += 10 + length;
    }
    Answer { code: message[3] & 15, addresses }
}

fn end_of_name(message: &[u8], mut at: usize) -> usize {
    loop {
        match message[at] {
            0 => return at + 1,
            length if length >= 0xc0 => return at + 2,
            length => at += 1 + usize::from(length),
        }
    }
}
