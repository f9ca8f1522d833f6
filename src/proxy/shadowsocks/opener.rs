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
//!
//! In SIP022 a header stands behind the salt, with the length of the first payload. It says that
//! the server answers this very request, and now.

use super::cipher::master_key::MasterKey;
use super::cipher::method::Edition;
use super::cipher::{Session, TAG};
use super::header::{TimedHeader, unix_time};
use super::invalid;
use super::sealer::Sealer;
use std::io;

const HEAD: usize = 2 + TAG;

/// The longest chunk's payload, and its tag: the longest piece that has to come whole. (Chunks of
/// SIP004 have a quarter of that.)
pub const LONGEST_PIECE: usize = u16::MAX as usize + TAG;

/// The state of one direction.
#[derive(Debug)]
pub struct Opener(Stage);

#[derive(Debug)]
enum Stage {
    /// The salt is still to come.
    Unsalted { key: MasterKey, header: Option<Box<TimedHeader>> },
    /// The salt came; `longest` is the longest payload of a chunk.
    Salted { session: Session, longest: u16, next: Next },
}

/// What comes next on the wire.
#[derive(Debug)]
enum Next {
    /// The header of SIP022.
    Header(Box<TimedHeader>),
    /// The payload of the header said to be empty. Some servers seal it nevertheless (shadowsocks-
    /// rust), others go on with the next chunk (sing-box).
    PerhapsEmpty,
    /// The length of a chunk.
    Length,
    /// A payload of so many bytes.
    Payload(u16),
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
    /// The direction from a server to the client whose request `sealer` is about to send.
    pub fn answer(key: MasterKey, sealer: &Sealer) -> Self {
        let header = match key.method().edition() {
            Edition::Sip004 => None,
            Edition::Sip022 => Some(Box::new(TimedHeader::answer(sealer.salt(&key)))),
        };
        Opener(Stage::Unsalted { key, header })
    }

    /// The direction from a client to a server of one user.
    pub fn request(key: MasterKey) -> Self {
        let header = match key.method().edition() {
            Edition::Sip004 => None,
            Edition::Sip022 => Some(Box::new(TimedHeader::request())),
        };
        Opener(Stage::Unsalted { key, header })
    }

    /// Opens as many chunks as have come whole.
    ///
    /// # Errors
    /// `InvalidData`: the bytes do not authenticate, a length is out of bounds, or the header is
    /// another one than it has to be. Nothing of `received` and nothing that comes later can be
    /// trusted.
    pub fn open(&mut self, received: &mut [u8]) -> io::Result<Opened> {
        let mut opened = Opened::default();
        while self.step(received, &mut opened)? {}
        Ok(opened)
    }

    /// Bytes that have to be at hand, unused ones, for the next step: with less memory opening
    /// would wait for ever. At most [`LONGEST_PIECE`].
    pub fn needs(&self) -> usize {
        match &self.0 {
            Stage::Unsalted { key, .. } => key.salt_len(),
            Stage::Salted { next, .. } => match next {
                Next::Header(header) => header.len() + TAG,
                Next::PerhapsEmpty | Next::Length => HEAD,
                Next::Payload(payload) => usize::from(*payload) + TAG,
            },
        }
    }

    /// Whether the direction may end after `waiting` unused bytes: between two chunks, or before
    /// anything came. A server that has nothing to say may close its half and still listen.
    pub fn may_end(&self, waiting: usize) -> bool {
        let inside =
            matches!(self.0, Stage::Salted { next: Next::Payload(_) | Next::Header(_), .. });
        waiting == 0 && !inside
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
        let (session, longest, next) = match &mut self.0 {
            Stage::Unsalted { key, header } => {
                let salt_len = key.salt_len();
                if rest < salt_len {
                    return Ok(false);
                }
                let session = key.session(&received[used..used + salt_len]);
                let (longest, next) = match header.take() {
                    None => (0x3FFF, Next::Length),
                    Some(header) => (u16::MAX, Next::Header(header)),
                };
                self.0 = Stage::Salted { session, longest, next };
                opened.used += salt_len;
                return Ok(true);
            }
            Stage::Salted { session, longest, next } => (session, *longest, next),
        };
        match next {
            Next::Length => {
                if rest < HEAD {
                    return Ok(false);
                }
                let head = &mut received[used..used + HEAD];
                authenticate(session, head, 0)?;
                let announced = u16::from_be_bytes([head[0], head[1]]);
                if announced > longest {
                    return Err(invalid("a chunk announces more than 16383 bytes"));
                }
                *next = Next::Payload(announced);
                opened.used += HEAD;
            }
            Next::Payload(payload) => {
                let payload = usize::from(*payload);
                if rest < payload + TAG {
                    return Ok(false);
                }
                let whole = &mut received[plain..used + payload + TAG];
                authenticate(session, whole, used - plain)?;
                *next = Next::Length;
                opened.plain += payload;
                opened.used += payload + TAG;
            }
            Next::Header(header) => {
                let length = header.len() + TAG;
                if rest < length {
                    return Ok(false);
                }
                let bytes = &mut received[used..used + length];
                authenticate(session, bytes, 0)?;
                let wrong = |wrong| io::Error::new(io::ErrorKind::InvalidData, wrong);
                let announced = header.check(bytes, unix_time()).map_err(wrong)?;
                *next = match announced {
                    0 if header.is_answer() => Next::PerhapsEmpty,
                    announced => Next::Payload(announced),
                };
                opened.used += length;
            }
            Next::PerhapsEmpty => {
                if rest < TAG {
                    return Ok(false);
                }
                let is_there = session.open(&mut received[used..used + TAG], 0).is_ok();
                *next = Next::Length;
                if is_there {
                    opened.used += TAG;
                }
            }
        }
        Ok(true)
    }
}

fn authenticate(session: &mut Session, bytes: &mut [u8], gap: usize) -> io::Result<()> {
    session
        .open(bytes, gap)
        .map_err(|_| invalid("the server's bytes do not authenticate; wrong password or method?"))
}
