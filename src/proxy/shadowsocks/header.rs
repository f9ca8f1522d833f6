//! The header with which SIP022 opens a direction and every packet: what it is, when it was made,
//! and, if it answers, what.
//!
//! ```text
//! | kind | time, seconds | echo: the salt or the session that it answers | a length |
//! |  1   |       8       |                  0, 8, 16 or 32               |    2     |
//! ```
//!
//! The time bounds how long a recorded header can be used again; the echo ties an answer to its
//! question.

use std::fmt;
use std::time::SystemTime;

/// From the client.
const REQUEST: u8 = 0;
/// From the server.
const ANSWER: u8 = 1;

/// How far the clocks of both ends may differ (SIP022, 3.1.3), in seconds.
pub const TOLERANCE: u64 = 30;

const KIND: usize = 1;
const TIME: usize = 8;
const LENGTH: usize = 2;

/// A header as it has to be; only time and length differ from one to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimedHeader {
    kind: u8,
    echo: Box<[u8]>,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrongHeader {
    /// Too short.
    Cut,
    /// A request instead of an answer, or the reverse.
    Kind { found: u8, wanted: u8 },
    /// The other end's clock differs by so many seconds.
    Time { seconds: u64 },
    /// It answers something else.
    Echo,
}

impl TimedHeader {
    /// What a client sends.
    pub(super) fn request() -> Self {
        TimedHeader { kind: REQUEST, echo: Box::default() }
    }

    /// What a server sends to the request of this salt, or to the client's session.
    pub(super) fn answer(to: &[u8]) -> Self {
        TimedHeader { kind: ANSWER, echo: to.into() }
    }

    pub(super) fn is_answer(&self) -> bool {
        self.kind == ANSWER
    }

    /// Bytes on the wire, without a tag.
    pub(super) fn len(&self) -> usize {
        KIND + TIME + self.echo.len() + LENGTH
    }

    /// Appends it, made `now` ([`unix_time`]).
    pub(super) fn append(&self, now: u64, length: u16, bytes: &mut Vec<u8>) {
        bytes.push(self.kind);
        bytes.extend_from_slice(&now.to_be_bytes());
        bytes.extend_from_slice(&self.echo);
        bytes.extend_from_slice(&length.to_be_bytes());
    }

    /// Returns the length that stands in `bytes`, which begin with a header.
    pub(super) fn check(&self, bytes: &[u8], now: u64) -> Result<u16, WrongHeader> {
        let (&[found], rest) = bytes.split_first_chunk().ok_or(WrongHeader::Cut)?;
        let (time, rest) = rest.split_first_chunk().ok_or(WrongHeader::Cut)?;
        let (echo, rest) = rest.split_at_checked(self.echo.len()).ok_or(WrongHeader::Cut)?;
        let (length, _) = rest.split_first_chunk().ok_or(WrongHeader::Cut)?;
        if found != self.kind {
            return Err(WrongHeader::Kind { found, wanted: self.kind });
        }
        let seconds = u64::from_be_bytes(*time).abs_diff(now);
        if seconds > TOLERANCE {
            return Err(WrongHeader::Time { seconds });
        }
        if *echo != *self.echo {
            return Err(WrongHeader::Echo);
        }
        Ok(u16::from_be_bytes(*length))
    }
}

impl fmt::Display for WrongHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WrongHeader::Cut => f.write_str("the server's header is too short"),
            WrongHeader::Kind { found, wanted } => {
                write!(f, "the server's header is of type {found}, not {wanted}")
            }
            WrongHeader::Time { seconds } => write!(
                f,
                "the clocks of this machine and of the server differ by {seconds} s, and \
                 shadowsocks 2022 allows {TOLERANCE} s: set the wrong one"
            ),
            WrongHeader::Echo => f.write_str("the server answers another request than ours"),
        }
    }
}

impl std::error::Error for WrongHeader {}

/// Seconds since 1970 by this machine's clock; 0 before that.
pub(super) fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn bytes(header: &TimedHeader, time: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        header.append(time, 0x1234, &mut bytes);
        assert_eq!(bytes.len(), header.len());
        bytes
    }

    #[test]
    fn the_layout_of_sip022() {
        let request = bytes(&TimedHeader::request(), 0x0102_0304_0506_0708);
        assert_eq!(request, [0, 1, 2, 3, 4, 5, 6, 7, 8, 0x12, 0x34]);
        let answer = bytes(&TimedHeader::answer(&[9; 16]), 1);
        assert_eq!(answer, [&[1, 0, 0, 0, 0, 0, 0, 0, 1][..], &[9; 16], &[0x12, 0x34]].concat());
    }

    #[test]
    fn thirty_seconds_either_way() {
        let header = TimedHeader::answer(&[7; 32]);
        for (off, seconds) in [(0, None), (29, None), (30, None), (31, Some(31)), (99, Some(99))] {
            for time in [NOW - off, NOW + off] {
                let checked = header.check(&bytes(&header, time), NOW);
                let expected =
                    seconds.map_or(Ok(0x1234), |seconds| Err(WrongHeader::Time { seconds }));
                assert_eq!(checked, expected, "{off}");
            }
        }
        let checked = header.check(&bytes(&header, u64::MAX), NOW);
        assert_eq!(checked, Err(WrongHeader::Time { seconds: u64::MAX - NOW }));
    }

    #[test]
    fn each_fault_has_its_own_error() {
        let header = TimedHeader::answer(&[7; 16]);
        let good = bytes(&header, NOW);
        assert_eq!(header.check(&good, NOW), Ok(0x1234));
        for length in 0..good.len() {
            assert_eq!(header.check(&good[..length], NOW), Err(WrongHeader::Cut), "{length}");
        }
        let mut request = good.clone();
        request[0] = 0;
        let kind = WrongHeader::Kind { found: 0, wanted: 1 };
        assert_eq!(header.check(&request, NOW), Err(kind));
        let other = bytes(&TimedHeader::answer(&[8; 16]), NOW);
        assert_eq!(header.check(&other, NOW), Err(WrongHeader::Echo));
    }
}
