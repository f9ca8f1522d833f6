//! Seals one direction in place.
//!
//! The memory is laid out as it goes over the wire, so that nothing is ever moved: room for what
//! opens the direction, then slots, each with room for the sealed length, the payload and its tag.
//! A vectored read puts the payload straight into the gaps; sealing fills in the rest; what is to
//! be sent is one run of bytes.
//!
//! ```text
//! SIP004  |      salt | len tag payload tag | len tag payload tag | ...
//! SIP022  | salt identities header tag payload tag | len tag payload tag | ...
//! ```
//!
//! In SIP022 the length of the first payload stands in the header, which ends where the first slot
//! has its payload. What opens the direction to a server leaves in one run with the first payload:
//! servers take what one read gives them for the whole header, and refuse a shorter one.

use super::cipher::master_key::{IDENTITY, MOST_IDENTITIES, MasterKey};
use super::cipher::method::Edition;
use super::cipher::{LONGEST_SALT, Session, TAG};
use super::header::{TimedHeader, unix_time};
use super::invalid;
use crate::proxy::address;
use crate::target::Target;
use rand::RngExt;
use std::io::{self, IoSliceMut};
use std::ops::Range;

/// The longest payload of a chunk (SIP004: the two upper bits of the length are reserved). SIP022
/// has chunks of four times that; to fill them saves next to nothing, and costs the receiver
/// memory.
pub const LONGEST_PAYLOAD: usize = 0x3FFF;

/// The sealed length in front of a payload.
const HEAD: usize = 2 + TAG;
/// A whole chunk.
const SLOT: usize = HEAD + LONGEST_PAYLOAD + TAG;

/// The longest header of a request, and its tag. (An answer's is longer, but has no identities.)
const REQUEST: usize = 1 + 8 + 2 + TAG;
/// Room for all that opens a direction, as far as it is no part of the first slot.
const ROOM: usize = LONGEST_SALT + MOST_IDENTITIES * IDENTITY + REQUEST - HEAD;

const _: () = assert!(LONGEST_SALT + 1 + 8 + LONGEST_SALT + 2 + TAG <= ROOM + HEAD);

/// The most bytes of padding (SIP022, 3.1.3).
const LONGEST_PADDING: usize = 900;

/// Bytes of memory for this many chunks a system call.
pub const fn memory(chunks: usize) -> usize {
    ROOM + chunks * SLOT
}

/// The most chunks that [`gaps`] finds room for.
pub const MOST_CHUNKS: usize = 8;

/// The state of one direction.
#[derive(Debug)]
pub struct Sealer {
    session: Session,
    /// What goes out once, before everything else.
    opening: Option<Box<Opening>>,
}

#[derive(Debug)]
struct Opening {
    /// The salt, and the identities.
    clear: Vec<u8>,
    /// SIP022.
    header: Option<TimedHeader>,
    /// What stands before the first payload: the destination and, for SIP022, the length of the
    /// padding.
    lead: Vec<u8>,
}

impl Sealer {
    /// The direction to a server that shall connect to `target`.
    ///
    /// # Errors
    /// The protocol cannot name the target, or the kernel gives no random bytes (getrandom(2)).
    pub fn request(key: &MasterKey, target: &Target) -> io::Result<Self> {
        let mut lead = address::encode(target)?;
        let header = match key.method().edition() {
            Edition::Sip004 => None,
            Edition::Sip022 => {
                lead.extend_from_slice(&[0, 0]);
                Some(TimedHeader::request())
            }
        };
        let salt = fresh_salt(key)?;
        let session = key.session(&salt);
        let clear = [&salt[..], &key.identity_headers(&salt)].concat();
        Ok(Sealer { session, opening: Some(Box::new(Opening { clear, header, lead })) })
    }

    /// The direction from a server to the client whose request had this salt.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn answer(key: &MasterKey, request_salt: &[u8]) -> io::Result<Self> {
        let header = match key.method().edition() {
            Edition::Sip004 => None,
            Edition::Sip022 => Some(TimedHeader::answer(request_salt)),
        };
        let clear = fresh_salt(key)?;
        let session = key.session(&clear);
        let opening = Opening { clear, header, lead: Vec::new() };
        Ok(Sealer { session, opening: Some(Box::new(opening)) })
    }

    /// The salt, as long as it has not been sent.
    pub fn salt(&self, key: &MasterKey) -> &[u8] {
        let clear = self.opening.as_ref().map(|opening| &opening.clear[..key.salt_len()]);
        clear.unwrap_or_default()
    }

    /// Whether what has to stand before the first payload is on its way.
    pub fn has_opened(&self) -> bool {
        self.opening.is_none()
    }

    /// Puts what has to stand before the first payload into its place, and returns how many bytes
    /// that are: none once it has been sealed.
    pub fn lead(&self, memory: &mut [u8]) -> usize {
        self.opening.as_ref().map_or(0, |opening| place(memory, 0, &opening.lead))
    }

    /// Seals the payload that [`lead`](Self::lead), [`place`] and [`gaps`] put into `memory`,
    /// `payload` bytes in all, and returns the run of bytes to send. Nothing is sent for no
    /// payload.
    ///
    /// # Errors
    /// More payload than fits, or (after 2^96 chunks) no nonce is left.
    pub fn seal(&mut self, memory: &mut [u8], mut payload: usize) -> io::Result<Range<usize>> {
        if payload > chunks(memory) * LONGEST_PAYLOAD {
            return Err(invalid("more payload than the memory holds"));
        }
        let mut begin = ROOM;
        let mut first = 0;
        if payload > 0
            && let Some(opening) = self.opening.take()
        {
            match &opening.header {
                None => begin = put_before(memory, ROOM, &opening.clear),
                Some(header) => {
                    payload = opening.padded(memory, payload);
                    first = payload.min(LONGEST_PAYLOAD);
                    let opened = self.seal_header(&opening.clear, header, first)?;
                    begin = put_before(memory, ROOM + HEAD, &opened);
                    self.seal_payload(&mut memory[ROOM + HEAD..], first)?;
                }
            }
        }
        let mut sent = if first > 0 { HEAD + first + TAG } else { 0 };
        let mut rest = payload - first;
        for slot in memory[ROOM..].chunks_exact_mut(SLOT).skip(usize::from(first > 0)) {
            if rest == 0 {
                break;
            }
            let length = rest.min(LONGEST_PAYLOAD);
            self.seal_chunk(slot, length)?;
            rest -= length;
            sent += HEAD + length + TAG;
        }
        Ok(begin..ROOM + sent)
    }

    /// Holds as little memory as it can until the next [`seal`](Self::seal).
    pub fn rest(&mut self) {
        self.session.rest();
    }

    fn seal_header(
        &mut self,
        clear: &[u8],
        header: &TimedHeader,
        length: usize,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(clear.len() + header.len() + TAG);
        bytes.extend_from_slice(clear);
        // At most 0x3FFF.
        header.append(unix_time(), length as u16, &mut bytes);
        let tag = self.session.seal(&mut bytes[clear.len()..]).map_err(used_up)?;
        bytes.extend_from_slice(&tag);
        Ok(bytes)
    }

    fn seal_chunk(&mut self, slot: &mut [u8], length: usize) -> io::Result<()> {
        let (head, rest) = slot.split_at_mut(HEAD);
        let (size, size_tag) = head.split_at_mut(2);
        // At most 0x3FFF.
        size.copy_from_slice(&(length as u16).to_be_bytes());
        size_tag.copy_from_slice(&self.session.seal(size).map_err(used_up)?);
        self.seal_payload(rest, length)
    }

    fn seal_payload(&mut self, bytes: &mut [u8], length: usize) -> io::Result<()> {
        let (payload, rest) = bytes.split_at_mut(length);
        rest[..TAG].copy_from_slice(&self.session.seal(payload).map_err(used_up)?);
        Ok(())
    }
}

impl Opening {
    /// Pads a request that carries nothing else, as SIP022 demands: a header alone would be known
    /// by its length. Returns how much payload there is then.
    fn padded(&self, memory: &mut [u8], payload: usize) -> usize {
        if self.lead.is_empty() || payload > self.lead.len() {
            return payload;
        }
        let length: usize = rand::rng().random_range(1..=LONGEST_PADDING);
        let size = ROOM + HEAD + payload - 2;
        memory[size..size + 2].copy_from_slice(&(length as u16).to_be_bytes());
        payload + place(memory, payload, &[0; LONGEST_PADDING][..length])
    }
}

fn fresh_salt(key: &MasterKey) -> io::Result<Vec<u8>> {
    let mut salt = vec![0; key.salt_len()];
    getrandom::fill(&mut salt).map_err(io::Error::other)?;
    Ok(salt)
}

/// Copies `bytes` to the place that ends at `end`; returns where they begin.
fn put_before(memory: &mut [u8], end: usize, bytes: &[u8]) -> usize {
    let begin = end - bytes.len();
    memory[begin..end].copy_from_slice(bytes);
    begin
}

fn used_up(_: super::cipher::Forged) -> io::Error {
    invalid("the cipher's nonce is used up")
}

/// Chunks that fit into this memory.
fn chunks(memory: &[u8]) -> usize {
    (memory.len().saturating_sub(ROOM) / SLOT).min(MOST_CHUNKS)
}

/// The places for payload behind the first `filled` bytes of it, in order; the last ones may be
/// empty.
pub fn gaps(memory: &mut [u8], filled: usize) -> [IoSliceMut<'_>; MOST_CHUNKS] {
    let mut skip = filled;
    let mut slots = memory.get_mut(ROOM..).unwrap_or_default().chunks_exact_mut(SLOT);
    std::array::from_fn(|_| {
        let payload = match slots.next() {
            Some(slot) => &mut slot[HEAD..HEAD + LONGEST_PAYLOAD],
            None => &mut [],
        };
        let begin = skip.min(payload.len());
        skip -= begin;
        IoSliceMut::new(&mut payload[begin..])
    })
}

/// Copies bytes to the place of the payload behind the first `filled` bytes of it. Returns how
/// many found room.
pub fn place(memory: &mut [u8], filled: usize, mut bytes: &[u8]) -> usize {
    let mut placed = 0;
    for mut gap in gaps(memory, filled) {
        let length = gap.len().min(bytes.len());
        let (now, later) = bytes.split_at(length);
        gap[..length].copy_from_slice(now);
        bytes = later;
        placed += length;
    }
    placed
}
