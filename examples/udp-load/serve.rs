//! The other end: it counts, sends and echoes, as the first byte of a datagram says.
//!
//! | first byte | then | answer |
//! |---|---|---|
//! | `d` | the number of a run | none; the datagram is counted for that run |
//! | `?` | the number of a run | the datagrams that were counted, 8 bytes |
//! | `s` | bytes each, number, datagrams a second | so many datagrams at that rate |
//! | `e` | anything | the same |
//!
//! Numbers have four bytes in network order.
//!
//! It is there in two shapes: as a site, and as a site behind a shadowsocks server of its own,
//! which sends and receives in trains and so is no bound for what is measured.

use super::train::{self, ROOM};
use snet::proxy::association::DatagramCodec;
use snet::proxy::shadowsocks::cipher::master_key::MasterKey;
use snet::proxy::shadowsocks::datagram::SaltedDatagrams;
use snet::target::Target;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};

/// Counts, of which no more than so many runs are kept.
const RUNS: usize = 1000;

/// A datagram longer than this is not sent to anybody.
const LONGEST: usize = 9000;

/// What a datagram asks for.
enum Act {
    Nothing,
    Answer(Vec<u8>),
    Send { length: usize, paced: (f64, u64) },
}

/// What was counted, by run.
#[derive(Default)]
struct Counted(HashMap<u32, u64>);

/// Serves as a site until it is killed.
///
/// # Errors
/// It cannot listen.
pub fn site(local: SocketAddr) -> io::Result<()> {
    let socket = train::bind(local)?;
    let (mut counted, mut room) = (Counted::default(), vec![0; ROOM]);
    loop {
        // What a client refuses (ICMP) is told here; the next one may be well.
        let Ok(arrival) = train::receive(&socket, &mut room) else { continue };
        let peer = arrival.peer;
        match counted.take(&room[..arrival.bytes.min(arrival.segment)], arrival.datagrams()) {
            Act::Nothing => {}
            Act::Answer(answer) => drop(socket.send_to(&answer, peer)),
            Act::Send { length, paced } => in_the_background(&socket, move |socket| {
                train::send(&socket, peer, length, paced, |count, train| {
                    train.resize(train.len() + count * length, b'd');
                })
            })?,
        }
    }
}

/// Serves as a shadowsocks server that is every site itself, until it is killed.
///
/// # Errors
/// It cannot listen.
pub fn proxy(local: SocketAddr, key: &MasterKey) -> io::Result<()> {
    let socket = train::bind(local)?;
    let codec = SaltedDatagrams::new(key.clone());
    let (mut counted, mut room) = (Counted::default(), vec![0; ROOM]);
    loop {
        let Ok(arrival) = train::receive(&socket, &mut room) else { continue };
        let peer = arrival.peer;
        for packet in room[..arrival.bytes].chunks_mut(arrival.segment) {
            let Ok((target, payload)) = codec.open_any(packet) else { continue };
            let mut codec = SaltedDatagrams::new(key.clone());
            match counted.take(&packet[payload], 1) {
                Act::Nothing => {}
                Act::Answer(answer) => {
                    let mut sealed = Vec::new();
                    codec.seal(&target, &answer, &mut sealed).map_err(io::Error::other)?;
                    let _ = socket.send_to(&sealed, peer);
                }
                Act::Send { length, paced } => {
                    let payload = vec![b'd'; length];
                    let sealed = sealed_length(&mut codec, &target, &payload);
                    in_the_background(&socket, move |socket| {
                        train::send(&socket, peer, sealed, paced, |count, train| {
                            let mut seal = || codec.seal(&target, &payload, train).is_ok();
                            let _ = (0..count).all(|_| seal());
                        })
                    })?;
                }
            }
        }
    }
}

fn sealed_length(codec: &mut SaltedDatagrams, target: &Target, payload: &[u8]) -> usize {
    let mut packet = Vec::new();
    let _ = codec.seal(target, payload, &mut packet);
    packet.len()
}

fn in_the_background(
    socket: &UdpSocket,
    send: impl FnOnce(UdpSocket) -> io::Result<u64> + Send + 'static,
) -> io::Result<()> {
    let socket = socket.try_clone()?;
    std::thread::spawn(move || send(socket));
    Ok(())
}

impl Counted {
    /// Takes datagrams, all alike.
    fn take(&mut self, datagram: &[u8], datagrams: u64) -> Act {
        match datagram.first() {
            Some(b'd') => {
                if self.0.len() >= RUNS {
                    self.0.clear();
                }
                *self.0.entry(number(datagram, 0)).or_default() += datagrams;
                Act::Nothing
            }
            Some(b'?') => {
                let count = self.0.get(&number(datagram, 0)).copied().unwrap_or_default();
                Act::Answer(count.to_be_bytes().to_vec())
            }
            Some(b's') => {
                let length = (number(datagram, 0) as usize).clamp(1, LONGEST);
                let (count, rate) = (number(datagram, 1), number(datagram, 2));
                Act::Send { length, paced: (rate.into(), count.into()) }
            }
            Some(b'e') => Act::Answer(datagram.to_vec()),
            _ => Act::Nothing,
        }
    }
}

/// The number at this place behind the first byte; 0 if there is none.
fn number(datagram: &[u8], place: usize) -> u32 {
    let begin = 1 + 4 * place;
    let bytes = datagram.get(begin..begin + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_be_bytes)
}
