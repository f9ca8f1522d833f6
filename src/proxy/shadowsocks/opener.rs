//! Opens one direction in place.
//!
//! Bytes are read behind the ones that wait. Opening moves the plain bytes of every chunk that has
//! come whole to the front, one behind the other (the cipher writes them there anyway, so this
//! costs no copy of its own), and one write takes them from there, however small the server's
//! chunks are. What remains of an unfinished chunk is moved to the front before the next read.
//!
//! ```text
//! | salt | len tag payload tag | len tag payload tag | len t
//! | payload payload |          used -------------> |  waits
//! ```

use super::cipher::{LONGEST_SALT, MasterKey, Session, TAG};
use super::{LONGEST_PAYLOAD, invalid};
use std::io;

const HEAD: usize = 2 + TAG;

/// With so much memory some chunk always comes whole; with less, opening could wait for ever.
pub const LEAST_MEMORY: usize = LONGEST_SALT + HEAD + LONGEST_PAYLOAD + TAG;

/// The state of one direction.
#[derive(Debug)]
pub struct Opener {
    key: MasterKey,
    expected: Expected,
    session: Option<Session>,
}

/// What comes next on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Salt,
    Length,
    Payload(usize),
}

/// What became of the bytes received so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// So many plain bytes lie at the front.
    pub plain: usize,
    /// So many bytes are done with; the rest waits for more.
    pub used: usize,
}

impl Opener {
    /// A direction whose salt is still to come.
    pub fn new(key: MasterKey) -> Self {
        Opener { key, expected: Expected::Salt, session: None }
    }

    /// Opens as many chunks as have come whole.
    ///
    /// # Errors
    /// `InvalidData`: the bytes do not authenticate, or a length is out of bounds. Nothing of
    /// `received` and nothing that comes later can be trusted.
    pub fn open(&mut self, received: &mut [u8]) -> io::Result<Opened> {
        let mut opened = Opened::default();
        while self.step(received, &mut opened)? {}
        Ok(opened)
    }

    /// Whether the direction may end after `waiting` unused bytes: between two chunks, or before
    /// anything came. A server that has nothing to say may close its half and still listen.
    pub fn may_end(&self, waiting: usize) -> bool {
        waiting == 0 && !matches!(self.expected, Expected::Payload(_))
    }

    /// Takes what is expected; `false` if it has not come whole.
    fn step(&mut self, received: &mut [u8], opened: &mut Opened) -> io::Result<bool> {
        let Opened { plain, used } = *opened;
        let rest = received.len() - used;
        match self.expected {
            Expected::Salt => {
                let salt_len = self.key.salt_len();
                if rest < salt_len {
                    return Ok(false);
                }
                self.session = Some(self.key.session(&received[used..used + salt_len]));
                self.expected = Expected::Length;
                opened.used += salt_len;
            }
            Expected::Length => {
                if rest < HEAD {
                    return Ok(false);
                }
                let head = &mut received[used..used + HEAD];
                self.authenticate(head, 0)?;
                let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
                if length > LONGEST_PAYLOAD {
                    return Err(invalid("a chunk announces more than 16383 bytes"));
                }
                self.expected = Expected::Payload(length);
                opened.used += HEAD;
            }
            Expected::Payload(length) => {
                if rest < length + TAG {
                    return Ok(false);
                }
                self.authenticate(&mut received[plain..used + length + TAG], used - plain)?;
                self.expected = Expected::Length;
                opened.plain += length;
                opened.used += length + TAG;
            }
        }
        Ok(true)
    }

    fn authenticate(&mut self, bytes: &mut [u8], gap: usize) -> io::Result<()> {
        let session = self.session.as_mut().ok_or_else(|| invalid("the salt has not come"))?;
        session.open(bytes, gap).map_err(|_| {
            invalid("the server's bytes do not authenticate; wrong password or method?")
        })
    }
}
