//! Shadowsocks 2022 over UDP (SIP022, 3.2).
//!
//! Each side has a session with a random identity, and counts its packets. A packet is opened under
//! its session's key, which is derived once. The body is a header with the time (an answer echoes
//! the client's session), padding, the address and the payload:
//!
//! ```text
//! client  | 0 | time |                  | length of padding | padding | address | payload |
//! server  | 1 | time | client's session | length of padding | padding | address | payload |
//! ```
//!
//! A client's session is one association, and so one socket of ours: servers send to the socket
//! that a session began with (sing-box never changes it), and give each session a port of its own.
//!
//! What comes twice is delivered once. A packet counts as come ([`window`]) only after it has
//! opened and its header fits, so nothing that is forged or recorded elsewhere moves the window. A
//! server that restarts begins a session of its own: the present one and the one before it are
//! both heard.

use super::cipher::TAG;
use super::cipher::master_key::MasterKey;
use super::cipher::packets::{PacketCipher, PacketId, PacketKey};
use super::header::{TimedHeader, unix_time};
use crate::proxy::address;
use crate::proxy::association::{
    DatagramCodec, OpenedDatagram, Unopenable, Unsealable, whole_or_nothing,
};
use crate::target::Target;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use window::Window;

mod window;

/// The longest payload of UDP over IPv4 (RFC 791, 3.1: 65,535 with both headers).
const LONGEST_PACKET: usize = 65_507;

/// Sessions of the other side that are heard: the present one, and one that it replaced.
const HEARD: usize = 2;

/// One end of an association.
#[derive(Debug)]
pub struct SessionDatagrams {
    cipher: Arc<PacketCipher>,
    /// What is sent.
    own: OwnSession,
    /// What is received: the newest first.
    others: Vec<OtherSession>,
    /// What a header has to be.
    expected: TimedHeader,
}

#[derive(Debug)]
struct OwnSession {
    id: u64,
    key: PacketKey,
    header: TimedHeader,
    /// The number of the next packet; `None`: all are used up.
    next: Option<u64>,
}

#[derive(Debug)]
struct OtherSession {
    id: u64,
    key: PacketKey,
    window: Box<Window>,
}

impl SessionDatagrams {
    /// The client's end, with a session of its own.
    ///
    /// # Errors
    /// The kernel gives no random bytes (getrandom(2)), or the key is one of SIP004.
    pub fn new(key: &MasterKey) -> io::Result<Self> {
        let cipher = key.packet_cipher().ok_or(io::ErrorKind::InvalidInput)?;
        let own = OwnSession::new(&cipher, TimedHeader::request())?;
        let expected = TimedHeader::answer(&own.id.to_be_bytes());
        Ok(SessionDatagrams { cipher, own, others: Vec::new(), expected })
    }

    /// The end of a server, which answers the client's session that it heard last.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_server(key: &MasterKey) -> io::Result<Self> {
        let cipher = key.packet_cipher().ok_or(io::ErrorKind::InvalidInput)?;
        let own = OwnSession::new(&cipher, TimedHeader::answer(&[0; 8]))?;
        let expected = TimedHeader::request();
        Ok(SessionDatagrams { cipher, own, others: Vec::new(), expected })
    }

    /// Opens a packet in place, whatever kind of address it carries: as a server does. Returns the
    /// address, and where the payload is.
    ///
    /// # Errors
    /// It does not authenticate, came before, is of another time or session, or carries no address.
    pub fn open_any(&mut self, packet: &mut [u8]) -> Result<(Target, Range<usize>), Unopenable> {
        let (id, body) = self.authentic(packet)?;
        let checked = self.expected.check(&packet[body.clone()], unix_time());
        let padding = usize::from(checked.map_err(|_| Unopenable::Stale)?);
        self.first_time(id)?;
        let begin = body.start + self.expected.len() + padding;
        let bytes = packet.get(begin..body.end).ok_or(Unopenable::Source)?;
        let (target, length) = address::decode(bytes).ok_or(Unopenable::Source)?;
        if !self.expected.is_answer() {
            self.own.header = TimedHeader::answer(&id.session.to_be_bytes());
        }
        Ok((target, begin + length..body.end))
    }

    /// Opens a packet under the key of its session.
    fn authentic(&self, packet: &mut [u8]) -> Result<(PacketId, Range<usize>), Unopenable> {
        let forged = |_| Unopenable::Forged;
        let Some(id) = self.cipher.claimed(packet).map_err(forged)? else {
            return self.cipher.open(None, packet).map_err(forged);
        };
        let derived;
        let key = match self.others.iter().find(|other| other.id == id.session) {
            Some(other) => &other.key,
            None => {
                derived = self.cipher.session(id.session);
                &derived
            }
        };
        self.cipher.open(Some((id, key)), packet).map_err(forged)
    }

    /// Notes a packet that is beyond doubt.
    fn first_time(&mut self, id: PacketId) -> Result<(), Unopenable> {
        let known = self.others.iter().position(|other| other.id == id.session);
        let at = known.unwrap_or_else(|| {
            self.others.truncate(HEARD - 1);
            let key = self.cipher.session(id.session);
            let window = Box::new(Window::new());
            self.others.insert(0, OtherSession { id: id.session, key, window });
            0
        });
        let is_new = self.others[at].window.take(id.number);
        if is_new { Ok(()) } else { Err(Unopenable::Replayed) }
    }

    fn append(
        &mut self,
        target: &Target,
        payload: &[u8],
        packets: &mut Vec<u8>,
    ) -> Result<(), Unsealable> {
        let begin = packets.len();
        let number = self.own.next.ok_or(Unsealable::Spent)?;
        self.cipher.begin(PacketId { session: self.own.id, number }, packets);
        self.own.header.append(unix_time(), 0, packets);
        address::append(target, packets).map_err(|_| Unsealable::Target)?;
        if packets.len() - begin + payload.len() + TAG > LONGEST_PACKET {
            return Err(Unsealable::TooLarge);
        }
        packets.extend_from_slice(payload);
        // A cipher refuses nothing but a text of gigabytes.
        let sealed = self.cipher.seal(&self.own.key, &mut packets[begin..]);
        packets.extend_from_slice(&sealed.map_err(|_| Unsealable::TooLarge)?);
        self.own.next = number.checked_add(1);
        Ok(())
    }
}

impl OwnSession {
    fn new(cipher: &PacketCipher, header: TimedHeader) -> io::Result<Self> {
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        let id = u64::from_be_bytes(id);
        Ok(OwnSession { id, key: cipher.session(id), header, next: Some(0) })
    }
}

impl DatagramCodec for SessionDatagrams {
    fn seal(
        &mut self,
        target: &Target,
        payload: &[u8],
        packets: &mut Vec<u8>,
    ) -> Result<(), Unsealable> {
        whole_or_nothing(packets, |packets| self.append(target, payload, packets))
    }

    fn open(&mut self, packet: &mut [u8]) -> Result<OpenedDatagram, Unopenable> {
        let (source, payload) = self.open_any(packet)?;
        OpenedDatagram::of(source, payload)
    }
}

#[cfg(test)]
mod tests;
