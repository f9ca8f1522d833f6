//! A domestic name server whose answers are overtaken by forged ones.
//!
//! It stands where the domestic server stands. For each query it first sends what a forger on or
//! off the path would send, then, a little later, the answer of an honest server.

use crate::world::{
    DOMESTIC_NAMES, DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, FORGED, Family, Host, in_internet,
};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// A foreign address, everything else right: the forger is on the path.
    Foreign,
    /// A loopback address, everything else right.
    Loopback,
    /// Several of both, everything else right.
    Many,
    /// A foreign address, everything else right, but behind the honest answer.
    Late,
    /// A domestic address, but another id: the forger guesses.
    WrongId,
    /// A domestic address, but for another name.
    WrongName,
    /// A domestic address, from another port of the server.
    WrongPort,
}

pub const FORGERIES: [Forgery; 7] = [
    Forgery::Foreign,
    Forgery::Loopback,
    Forgery::Many,
    Forgery::Late,
    Forgery::WrongId,
    Forgery::WrongName,
    Forgery::WrongPort,
];

/// A domestic address where nobody is: believed, it would steer the client astray.
pub const TRAP: Host = crate::world::SILENT_DOMESTIC;

/// How long the honest answer lags behind.
const LAG: Duration = Duration::from_millis(30);

impl Forgery {
    /// Whether nothing but the content tells it from the honest answer.
    pub fn is_on_path(self) -> bool {
        matches!(self, Forgery::Foreign | Forgery::Loopback | Forgery::Many)
    }
}

/// A running forger.
#[derive(Debug, Clone)]
pub struct Forger {
    present: Arc<Mutex<Forgery>>,
    sent: Arc<AtomicU64>,
}

impl Forger {
    /// From now on, this one.
    pub fn set(&self, forgery: Forgery) {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = forgery;
    }

    /// How many forged answers have left.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn present(&self) -> Forgery {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts it in place of the domestic server, in both families.
pub fn start(forgery: Forgery) -> Forger {
    let forger = Forger { present: Arc::new(Mutex::new(forgery)), sent: Arc::default() };
    for family in FAMILIES {
        let address = DOMESTIC_NAMES.port(family, 53);
        let bind = |address: SocketAddr| {
            in_internet(|| UdpSocket::bind(address)).unwrap_or_else(|error| {
                panic!("bind {address}: {error}");
            })
        };
        let (server, other) = (bind(address), bind(SocketAddr::new(address.ip(), 5353)));
        let forger = forger.clone();
        thread::spawn(move || serve(&forger, &server, &other));
    }
    forger
}

fn serve(forger: &Forger, server: &UdpSocket, other: &UdpSocket) {
    let mut buffer = [0; 2048];
    loop {
        // The client closes its socket once it is content; an IPv6 socket is told of that.
        let Ok((length, from)) = server.recv_from(&mut buffer) else { continue };
        let forgery = forger.present();
        let query = &buffer[..length];
        let honest = answer(query, honest_address(query));
        let from_where = if forgery == Forgery::WrongPort { other } else { server };
        let forgeries: &[Forgery] = match forgery {
            Forgery::Many => &[Forgery::Foreign, Forgery::Loopback, Forgery::Foreign],
            _ => &[forgery],
        };
        let lies: Vec<_> = forgeries.iter().map(|forgery| forged(*forgery, query)).collect();
        let (first, second) = match forgery {
            Forgery::Late => (vec![honest], lies),
            _ => (lies, vec![honest]),
        };
        forger.sent.fetch_add(forgeries.len() as u64, Ordering::Relaxed);
        for message in first {
            let _ = from_where.send_to(&message, from);
        }
        let server = server.try_clone().expect("a socket can be cloned");
        thread::spawn(move || {
            thread::sleep(LAG);
            for message in second {
                let _ = server.send_to(&message, from);
            }
        });
    }
}

fn forged(forgery: Forgery, query: &[u8]) -> Vec<u8> {
    let family = asked_family(query);
    let trap = answer(query, Some(TRAP.ip(family)));
    match forgery {
        Forgery::Foreign | Forgery::Many | Forgery::Late => answer(query, Some(FORGED.ip(family))),
        Forgery::Loopback => answer(
            query,
            Some(match family {
                Family::V4 => IpAddr::from([127, 0, 0, 1]),
                Family::V6 => "::1".parse().expect("an address"),
            }),
        ),
        Forgery::WrongPort => trap,
        Forgery::WrongId => {
            let mut forged = trap;
            forged[1] ^= 0xff;
            forged
        }
        Forgery::WrongName => {
            let mut forged = trap;
            // The first letter of the name, behind the header and a length.
            forged[13] = if forged[13] == b'x' { b'y' } else { b'x' };
            forged
        }
    }
}

/// What the honest server says: of foreign names it knows the true address too, far away.
fn honest_address(query: &[u8]) -> Option<IpAddr> {
    let family = asked_family(query);
    if contains(query, b"\x08domestic\x07example") {
        Some(DOMESTIC_SITE.ip(family))
    } else if contains(query, b"\x07foreign\x07example") {
        Some(FOREIGN_SITE.ip(family))
    } else {
        None
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Behind the name of the only question (RFC 1035, section 4.1.2): AAAA is 28.
fn asked_family(query: &[u8]) -> Family {
    let end = end_of_question(query);
    if query[end - 3] == 28 { Family::V6 } else { Family::V4 }
}

fn end_of_question(query: &[u8]) -> usize {
    let mut at = 12;
    while query[at] != 0 {
        at += 1 + usize::from(query[at]);
    }
    at + 5
}

/// The question with one address, or with none.
fn answer(query: &[u8], address: Option<IpAddr>) -> Vec<u8> {
    let mut message = query[..end_of_question(query)].to_vec();
    message[2] = 0x81;
    message[3] = 0x80;
    // One question, one answer or none, no authority, no OPT.
    message[4..12].copy_from_slice(&[0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    match address {
        None => {}
        Some(IpAddr::V4(ip)) => {
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4]);
            message.extend(ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            message.extend([0xc0, 12, 0, 28, 0, 1, 0, 0, 1, 44, 0, 16]);
            message.extend(ip.octets());
        }
    }
    message
}
