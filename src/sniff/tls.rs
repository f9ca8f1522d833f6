//! The records of TLS (RFC 8446, 5.1) that carry a ClientHello: several, where it is long or the
//! program cuts it on purpose; and each over any number of segments.

use super::{Sniffed, client_hello};

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
        if rest.first().is_some_and(|kind| *kind != HANDSHAKE)
            || rest.get(1).is_some_and(|major| *major != MAJOR)
        {
            return Sniffed::Nothing;
        }
        let Some((&[_, _, _, high, low], body)) = rest.split_first_chunk::<HEADER>() else {
            return Sniffed::More;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        // No part of a handshake is empty (RFC 8446, 5.1).
        if length == 0 || length > LONGEST {
            return Sniffed::Nothing;
        }
        let (part, beyond) = body.split_at(length.min(body.len()));
        handshake.extend_from_slice(part);
        match client_hello::sniff(&handshake) {
            Sniffed::More => {}
            sniffed => return sniffed,
        }
        if part.len() < length {
            return Sniffed::More;
        }
        rest = beyond;
    }
}
