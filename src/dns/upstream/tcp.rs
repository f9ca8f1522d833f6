//! DNS over TCP (RFC 7766): two bytes of length in front of each message.

use super::edns::completed;
use super::message_id::random_id;
use crate::dns::reply::Reply;
use crate::dns::wire::{Query, upstream_query};
use crate::net::Outbound;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Asks one question over a connection of its own: for what did not fit into a datagram. Has no
/// time-out.
///
/// # Errors
/// The connection failed, or its end came before the reply.
pub(in crate::dns) async fn ask(
    outbound: &Outbound,
    server: SocketAddr,
    query: &Query,
) -> io::Result<Vec<u8>> {
    ask_over(outbound.tcp(&[server]).await?, query).await
}

/// The same over a connection that stands.
///
/// # Errors
/// As above.
pub(super) async fn ask_over(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    query: &Query,
) -> io::Result<Vec<u8>> {
    let id = random_id();
    stream.write_all(&frame(&upstream_query(query, id))).await?;
    stream.flush().await?;
    let mut incoming = Incoming::default();
    while let Some(message) = incoming.next(&mut stream).await? {
        if Reply::parse(&message).is_some_and(|reply| reply.matches(query, id)) {
            return Ok(message);
        }
        if let Some(whole) = completed(&message, query.question(), id) {
            return Ok(whole);
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without a reply"))
}

/// A message with its length in front. A longer one than 65,535 bytes does not exist here.
pub(in crate::dns) fn frame(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend(length.to_be_bytes());
    framed.extend(message);
    framed
}

/// Messages that come in pieces.
#[derive(Debug, Default)]
pub(in crate::dns) struct Incoming {
    bytes: Vec<u8>,
}

impl Incoming {
    /// The next whole message; `None` at the end, also in the middle of one. Dropping the future
    /// loses nothing.
    ///
    /// # Errors
    /// What reading says.
    pub(in crate::dns) async fn next(
        &mut self,
        source: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            self.bytes.reserve(512);
            if source.read_buf(&mut self.bytes).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(u16::from_be_bytes(*self.bytes.first_chunk()?));
        let message = self.bytes.get(2..2 + length)?.to_vec();
        self.bytes.drain(..2 + length);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_in_pieces() {
        let wire = [frame(b"first"), frame(b""), frame(&[7; 60_000])].concat();
        for size in [1, 3, 70_000] {
            let (mut source, mut sink) = tokio::io::duplex(size);
            let wire = wire.clone();
            tokio::spawn(async move { sink.write_all(&wire).await });
            let mut incoming = Incoming::default();
            assert_eq!(incoming.next(&mut source).await.unwrap().unwrap(), b"first");
            assert_eq!(incoming.next(&mut source).await.unwrap().unwrap(), b"");
            assert_eq!(incoming.next(&mut source).await.unwrap().unwrap(), [7; 60_000]);
            assert_eq!(incoming.next(&mut source).await.unwrap(), None);
        }
    }
}
