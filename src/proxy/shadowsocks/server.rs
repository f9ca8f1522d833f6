//! The server's end of a connection, of one user: for tests and the selftest, which so need no
//! other program. It remembers no salts, so it does not notice what is sent twice.

use super::Sealed;
use super::cipher::master_key::MasterKey;
use super::cipher::method::Edition;
use super::invalid;
use super::opener::Opener;
use super::sealer::Sealer;
use super::stream::SealedStream;
use crate::proxy::HalfClose;
use crate::proxy::address;
use crate::target::Target;
use std::io;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest address, and the longest padding behind it.
const LONGEST_LEAD: usize = 1024 + 1024;

/// What a client asks for.
#[derive(Debug)]
pub struct Accepted {
    /// Where to.
    pub target: Target,
    /// The first bytes for the target; perhaps none.
    pub first: Vec<u8>,
    /// The rest of them, and the way back.
    pub stream: SealedStream,
}

/// Reads the request of a client that has connected.
///
/// # Errors
/// What reading says; `InvalidData`: it is no request with this key, and of this time.
pub async fn accept(mut tcp: TcpStream, key: &MasterKey) -> io::Result<Accepted> {
    let mut salt = vec![0; key.salt_len()];
    tcp.read_exact(&mut salt).await?;
    let sealer = Sealer::answer(key, &salt)?;
    let mut opener = Opener::request(key.clone());
    opener.open(&mut salt)?;
    let mut stream =
        SealedStream::new(Sealed { tcp, sealer, opener, half_close: HalfClose::Forwarded });
    let mut first = Vec::new();
    loop {
        if let Some((target, length)) = lead(key, &first) {
            first.drain(..length);
            return Ok(Accepted { target, first, stream });
        }
        if first.len() > LONGEST_LEAD || stream.read_buf(&mut first).await? == 0 {
            return Err(invalid("no address stands before the first payload"));
        }
    }
}

/// The target, and how many bytes stand before the first payload; `None` if more is to come.
fn lead(key: &MasterKey, first: &[u8]) -> Option<(Target, usize)> {
    let (target, length) = address::decode(first)?;
    let padding = match key.method().edition() {
        Edition::Sip004 => 0,
        Edition::Sip022 => 2 + usize::from(u16::from_be_bytes(*first[length..].first_chunk()?)),
    };
    let whole = length + padding;
    (first.len() >= whole).then_some((target, whole))
}

/// The answer to the request of this salt in chunks that are longer than those of our own sealer.
#[cfg(test)]
pub(crate) fn wire_of_long_chunks(
    key: &MasterKey,
    request_salt: &[u8],
    chunks: &[Vec<u8>],
) -> Vec<u8> {
    use super::header::{TimedHeader, unix_time};
    let salt = vec![0x77; key.salt_len()];
    let mut session = key.session(&salt);
    let mut wire = salt;
    let mut add = |mut bytes: Vec<u8>| {
        let tag = session.seal(&mut bytes).unwrap();
        wire.extend(bytes);
        wire.extend(tag);
    };
    for (at, chunk) in chunks.iter().enumerate() {
        let length = chunk.len() as u16;
        let mut header = Vec::new();
        match at {
            0 => TimedHeader::answer(request_salt).append(unix_time(), length, &mut header),
            _ => header.extend(length.to_be_bytes()),
        }
        add(header);
        add(chunk.clone());
    }
    wire
}
