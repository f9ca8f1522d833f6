//! A look at what a peer has sent so far, without taking it.

use std::io;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The first bytes that wait to be read, as many as fit (recv(2), MSG_PEEK). Never waits: nothing
/// if nothing is there, or the connection is broken, which whoever reads finds out.
pub fn peek<'a>(stream: &TcpStream, buffer: &'a mut [u8]) -> &'a [u8] {
    use rustix::net::{RecvFlags, recv};
    let look = || Ok::<_, io::Error>(recv(stream, &mut *buffer, RecvFlags::PEEK)?.0);
    let length = stream.try_io(Interest::READABLE, look).unwrap_or(0);
    buffer.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Outbound, Refusal, listen};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_is_looked_at_stays() {
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let mut client = outbound.tcp(&[listener.local_addr().unwrap()]).await.unwrap();
        let (mut served, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(peek(&served, &mut buffer), b"");
        client.write_all(b"hello, hello").await.unwrap();
        served.readable().await.unwrap();
        assert_eq!(peek(&served, &mut buffer), b"hello, h");
        assert_eq!(peek(&served, &mut buffer[..2]), b"he");
        let mut read = [0; 12];
        served.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello, hello");
        drop(client);
        assert_eq!(peek(&served, &mut buffer), b"");
    }
}
