//! The records of TLS (RFC 8446, 5.1) that carry a ClientHello: several, where it is long or the
//! program cuts it on purpose; and each over any number of segments.

use super::{FirstFlight, Sniffed, client_hello};

/// The content type of a record with a part of a handshake.
pub(super) const HANDSHAKE: u8 = 22;

const HEADER: usize = 5;

/// The major version in every record, of SSL 3.0 to TLS 1.3.
const MAJOR: u8 = 3;

/// The longest record in the clear.
const LONGEST: usize = 1 << 14;

/// Looks at the beginning of a stream that is not empty.
pub(super) fn sniff(seen: &[u8]) -> Sniffed {
    let mut handshake = Vec::new();
    let mut rest = seen;
    loop {
        let (part, is_whole) = match record(rest) {
            RecordRead::More => return Sniffed::More,
            RecordRead::Other => return Sniffed::Nothing,
            RecordRead::Part { part, is_whole, beyond } => {
                rest = beyond;
                (part, is_whole)
            }
        };
        handshake.extend_from_slice(part);
        match client_hello::sniff(&handshake) {
            Sniffed::More => {}
            sniffed => return sniffed,
        }
        if !is_whole {
            return Sniffed::More;
        }
    }
}

/// Whether a stream that is not empty is one hello so far, to the end of a record.
pub(super) fn first_flight(seen: &[u8]) -> FirstFlight {
    let mut handshake = Vec::new();
    let mut rest = seen;
    loop {
        match record(rest) {
            RecordRead::More => return FirstFlight::More,
            RecordRead::Other => return FirstFlight::Other,
            RecordRead::Part { is_whole: false, .. } => return FirstFlight::More,
            RecordRead::Part { part, beyond, .. } => {
                handshake.extend_from_slice(part);
                rest = beyond;
            }
        }
        match client_hello::first_flight(&handshake) {
            FirstFlight::Hello if !rest.is_empty() => return FirstFlight::Other,
            FirstFlight::More => {}
            flight => return flight,
        }
    }
}

/// What a record's beginning is.
enum RecordRead<'a> {
    /// Its header has not come.
    More,
    /// No record with a part of a handshake.
    Other,
    Part {
        part: &'a [u8],
        is_whole: bool,
        beyond: &'a [u8],
    },
}

fn record(rest: &[u8]) -> RecordRead<'_> {
    if rest.first().is_some_and(|kind| *kind != HANDSHAKE)
        || rest.get(1).is_some_and(|major| *major != MAJOR)
    {
        return RecordRead::Other;
    }
    let Some((&[_, _, _, high, low], body)) = rest.split_first_chunk::<HEADER>() else {
        return RecordRead::More;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // No part of a handshake is empty (RFC 8446, 5.1).
    if length == 0 || length > LONGEST {
        return RecordRead::Other;
    }
    let (part, beyond) = body.split_at(length.min(body.len()));
    RecordRead::Part { part, is_whole: part.len() == length, beyond }
}
