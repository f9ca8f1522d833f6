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
pub struct Opener(Stage);

#[derive(Debug)]
enum Stage {
    /// The salt is still to come.
    Unsalted(MasterKey),
    /// The next on the wire is a length or, where one came, its payload.
    Salted { session: Session, length: Option<usize> },
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
        Opener(Stage::Unsalted(key))
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
        waiting == 0 && !matches!(self.0, Stage::Salted { length: Some(_), .. })
    }

    /// Holds as little memory as it can until the next [`open`](Self::open).
    pub fn rest(&mut self) {
        if let Stage::Salted { session, .. } = &mut self.0 {
            session.rest();
        }
    }

    /// Takes what is expected; `false` if it has not come whole.
    fn step(&mut self, received: &mut [u8], opened: &mut Opened) -> io::Result<bool> {
        let Opened { plain, used } = *opened;
        let rest = received.len() - used;
        match &mut self.0 {
            Stage::Unsalted(key) => {
                let salt_len = key.salt_len();
                if rest < salt_len {
                    return Ok(false);
                }
                let session = key.session(&received[used..used + salt_len]);
                self.0 = Stage::Salted { session, length: None };
                opened.used += salt_len;
            }
            Stage::Salted { session, length } => match *length {
                None => {
                    if rest < HEAD {
                        return Ok(false);
                    }
                    let head = &mut received[used..used + HEAD];
                    authenticate(session, head, 0)?;
                    let announced = usize::from(u16::from_be_bytes([head[0], head[1]]));
                    if announced > LONGEST_PAYLOAD {
                        return Err(invalid("a chunk announces more than 16383 bytes"));
                    }
                    *length = Some(announced);
                    opened.used += HEAD;
                }
                Some(payload) => {
                    if rest < payload + TAG {
                        return Ok(false);
                    }
                    let whole = &mut received[plain..used + payload + TAG];
                    authenticate(session, whole, used - plain)?;
                    *length = None;
                    opened.plain += payload;
                    opened.used += payload + TAG;
                }
            },
        }
        Ok(true)
    }
}

fn authenticate(session: &mut Session, bytes: &mut [u8], gap: usize) -> io::Result<()> {
    session
        .open(bytes, gap)
        .map_err(|_| invalid("the server's bytes do not authenticate; wrong password or method?"))
}
