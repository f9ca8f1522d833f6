//! Seals one direction in place.
//!
//! The memory is laid out as it goes over the wire, so that nothing is ever moved: room for the
//! salt, then slots, each with room for the sealed length, the payload and its tag. A vectored
//! read puts the payload straight into the gaps; sealing fills in the rest; what is to be sent is
//! one run of bytes.
//!
//! ```text
//! | salt | len tag payload tag | len tag payload tag | ...
//! ```

use super::cipher::{LONGEST_SALT, MasterKey, Session, TAG};
use super::{LONGEST_PAYLOAD, invalid};
use std::io::{self, IoSliceMut};
use std::ops::Range;

/// The sealed length in front of a payload.
const HEAD: usize = 2 + TAG;
/// A whole chunk.
const SLOT: usize = HEAD + LONGEST_PAYLOAD + TAG;

/// Bytes of memory for this many chunks a system call.
pub const fn memory(chunks: usize) -> usize {
    LONGEST_SALT + chunks * SLOT
}

/// The most chunks that [`gaps`] finds room for.
pub const MOST_CHUNKS: usize = 8;

/// The state of one direction.
#[derive(Debug)]
pub struct Sealer {
    session: Session,
    salt: [u8; LONGEST_SALT],
    salt_len: usize,
    /// The salt goes out once, before everything else.
    salt_is_due: bool,
}

impl Sealer {
    /// A direction with a fresh random salt.
    ///
    /// # Errors
    /// The kernel gives no random bytes (getrandom(2)).
    pub fn new(key: &MasterKey) -> io::Result<Self> {
        let mut salt = [0; LONGEST_SALT];
        let salt_len = key.salt_len();
        getrandom::fill(&mut salt[..salt_len]).map_err(io::Error::other)?;
        let session = key.session(&salt[..salt_len]);
        Ok(Sealer { session, salt, salt_len, salt_is_due: true })
    }

    /// Seals the payload that [`place`] and [`gaps`] put into `memory`, `payload` bytes in all, and
    /// returns the run of bytes to send. Nothing is sent for no payload.
    ///
    /// # Errors
    /// More payload than fits, or (after 2^96 chunks) no nonce is left.
    pub fn seal(&mut self, memory: &mut [u8], payload: usize) -> io::Result<Range<usize>> {
        if payload > chunks(memory) * LONGEST_PAYLOAD {
            return Err(invalid("more payload than the memory holds"));
        }
        let (salt, slots) = memory.split_at_mut(LONGEST_SALT);
        let mut sent = 0;
        let mut rest = payload;
        for slot in slots.chunks_exact_mut(SLOT) {
            if rest == 0 {
                break;
            }
            let length = rest.min(LONGEST_PAYLOAD);
            self.seal_chunk(slot, length)?;
            rest -= length;
            sent += HEAD + length + TAG;
        }
        let mut begin = LONGEST_SALT;
        if self.salt_is_due && sent > 0 {
            self.salt_is_due = false;
            begin -= self.salt_len;
            salt[begin..].copy_from_slice(&self.salt[..self.salt_len]);
        }
        Ok(begin..LONGEST_SALT + sent)
    }

    /// Holds as little memory as it can until the next [`seal`](Self::seal).
    pub fn rest(&mut self) {
        self.session.rest();
    }

    fn seal_chunk(&mut self, slot: &mut [u8], length: usize) -> io::Result<()> {
        let (head, rest) = slot.split_at_mut(HEAD);
        let (size, size_tag) = head.split_at_mut(2);
        let (payload, rest) = rest.split_at_mut(length);
        // At most 0x3FFF.
        size.copy_from_slice(&(length as u16).to_be_bytes());
        let used_up = |_| invalid("the cipher's nonce is used up");
        size_tag.copy_from_slice(&self.session.seal(size).map_err(used_up)?);
        rest[..TAG].copy_from_slice(&self.session.seal(payload).map_err(used_up)?);
        Ok(())
    }
}

/// Chunks that fit into this memory.
fn chunks(memory: &[u8]) -> usize {
    (memory.len().saturating_sub(LONGEST_SALT) / SLOT).min(MOST_CHUNKS)
}

/// The places for payload behind the first `filled` bytes of it, in order; the last ones may be
/// empty.
pub fn gaps(memory: &mut [u8], filled: usize) -> [IoSliceMut<'_>; MOST_CHUNKS] {
    let mut skip = filled;
    let mut slots = memory.get_mut(LONGEST_SALT..).unwrap_or_default().chunks_exact_mut(SLOT);
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
