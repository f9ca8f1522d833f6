//! Opens one direction in place.
//!
//! Bytes are read behind the ones that wait, opened where they lie, and handed out as ranges of
//! the same memory: a vectored write takes them from there. What remains of an unfinished chunk
//! is moved to the front before the next read.

use super::cipher::{LONGEST_SALT, MasterKey, Session, TAG};
use super::{LONGEST_PAYLOAD, invalid};
use std::io;
use std::ops::Range;

const HEAD: usize = 2 + TAG;

/// Bytes of the memory to read into: four whole chunks.
pub const MEMORY: usize = 4 * (HEAD + LONGEST_PAYLOAD + TAG);

// A salt and a whole chunk fit, else opening could wait for ever.
const _: () = assert!(MEMORY > LONGEST_SALT + HEAD + LONGEST_PAYLOAD + TAG);

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
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The payloads, in order; empty ones are left out.
    pub payloads: Vec<Range<usize>>,
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
    /// `InvalidData`: the bytes do not authenticate, or a length is out of bounds. Nothing that
    /// comes later can be trusted.
    pub fn open(&mut self, received: &mut [u8]) -> io::Result<Opened> {
        let mut opened = Opened::default();
        loop {
            let rest = &mut received[opened.used..];
            let Some(length) = self.step(rest)? else { return Ok(opened) };
            if let Step::Payload(length @ 1..) = length {
                opened.payloads.push(opened.used..opened.used + length);
            }
            opened.used += length.on_the_wire(self.key.salt_len());
        }
    }

    /// Whether the direction may end after `waiting` unused bytes: between two chunks, or before
    /// anything came.
    pub fn may_end(&self, waiting: usize) -> bool {
        waiting == 0 && !matches!(self.expected, Expected::Payload(_))
    }

    /// Takes what is expected off the front of `bytes`; `None` if it has not come whole.
    fn step(&mut self, bytes: &mut [u8]) -> io::Result<Option<Step>> {
        match self.expected {
            Expected::Salt => {
                let Some(salt) = bytes.get(..self.key.salt_len()) else { return Ok(None) };
                self.session = Some(self.key.session(salt));
                self.expected = Expected::Length;
                Ok(Some(Step::Salt))
            }
            Expected::Length => {
                let Some(head) = bytes.get_mut(..HEAD) else { return Ok(None) };
                let (size, tag) = head.split_at_mut(2);
                self.authenticate(size, tag)?;
                let length = usize::from(u16::from_be_bytes([size[0], size[1]]));
                if length > LONGEST_PAYLOAD {
                    return Err(invalid("a chunk announces more than 16383 bytes"));
                }
                self.expected = Expected::Payload(length);
                Ok(Some(Step::Length))
            }
            Expected::Payload(length) => {
                let Some(chunk) = bytes.get_mut(..length + TAG) else { return Ok(None) };
                let (payload, tag) = chunk.split_at_mut(length);
                self.authenticate(payload, tag)?;
                self.expected = Expected::Length;
                Ok(Some(Step::Payload(length)))
            }
        }
    }

    fn authenticate(&mut self, bytes: &mut [u8], tag: &[u8]) -> io::Result<()> {
        let session = self.session.as_mut().ok_or_else(|| invalid("the salt has not come"))?;
        session.open(bytes, tag).map_err(|_| {
            invalid("the server's bytes do not authenticate; wrong password or method?")
        })
    }
}

#[derive(Clone, Copy)]
enum Step {
    Salt,
    Length,
    Payload(usize),
}

impl Step {
    fn on_the_wire(self, salt_len: usize) -> usize {
        match self {
            Step::Salt => salt_len,
            Step::Length => HEAD,
            Step::Payload(length) => length + TAG,
        }
    }
}
