//! A look at what a peer has sent so far, without taking it.

use super::stream::set_low_water;
use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, recv};
use std::future::pending;
use std::io;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The first bytes that wait to be read, as many as fit (recv(2), MSG_PEEK); none: the end. Never
/// waits. For a loop that waits until the socket is readable: it still is if anything is there.
///
/// # Errors
/// `WouldBlock`: nothing is there. Else the connection is broken.
pub fn peek<'a>(stream: &TcpStream, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let length = stream.try_io(Interest::READABLE, || look(stream, buffer))?;
    Ok(buffer.get(..length).unwrap_or_default())
}

/// The same at once, whether the runtime has heard of it or not.
///
/// # Errors
/// As [`peek`].
pub fn peek_now<'a>(stream: &TcpStream, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let length = look(stream, buffer)?;
    Ok(buffer.get(..length).unwrap_or_default())
}

fn look(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(stream, buffer, RecvFlags::PEEK | RecvFlags::DONTWAIT)?.0)
}

/// Waits until more than `seen` bytes wait to be read, and returns them, `most` at most. Waits for
/// ever if no more will come. Holds no memory while it waits.
///
/// Meanwhile the socket counts as not readable, although it is: whoever reads it then has to
/// [`tell_again`] first.
pub async fn more_than(stream: &TcpStream, seen: usize, most: usize) -> Vec<u8> {
    let mut is_ended = false;
    loop {
        let look = || match ioctl_fionread(stream)? {
            waiting if waiting > seen as u64 => Ok(waiting),
            // Readable again when more comes (epoll(7), edge-triggered).
            _ => Err(io::ErrorKind::WouldBlock.into()),
        };
        match stream.try_io(Interest::READABLE, look) {
            Ok(waiting) => {
                let mut bytes = vec![0; most.min(waiting as usize)];
                let there = peek(stream, &mut bytes).map_or(0, <[u8]>::len);
                if there > seen {
                    bytes.truncate(there);
                    return bytes;
                }
                return pending().await;
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return pending().await,
            // An end is readable for ever.
            Err(_) if is_ended => return pending().await,
            Err(_) => {}
        }
        match stream.ready(Interest::READABLE).await {
            Ok(ready) => is_ended = ready.is_read_closed(),
            Err(_) => return pending().await,
        }
    }
}

/// Has the runtime told again if bytes wait to be read: setting the option signals what is there
/// (net/ipv4/tcp.c, tcp_set_rcvlowat).
pub fn tell_again(stream: &TcpStream) {
    // Fails for what is no socket.
    let _ = set_low_water(stream, 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Outbound, Refusal, listen};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    #[tokio::test]
    async fn what_is_looked_at_stays() {
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let mut client = outbound.tcp(&[listener.local_addr().unwrap()]).await.unwrap();
        let (mut served, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 8];
        let nothing = peek(&served, &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(peek_now(&served, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.write_all(b"hello, hello").await.unwrap();
        served.readable().await.unwrap();
        assert_eq!(peek(&served, &mut buffer).unwrap(), b"hello, h");
        assert_eq!(peek(&served, &mut buffer[..2]).unwrap(), b"he");
        assert_eq!(peek_now(&served, &mut buffer).unwrap(), b"hello, h");
        let mut read = [0; 12];
        served.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello, hello");
        drop(client);
        served.readable().await.unwrap();
        assert_eq!(peek(&served, &mut buffer).unwrap(), b"");
    }

    /// Whoever waits to read learns of bytes that were seen before.
    #[tokio::test]
    async fn what_was_waited_for_is_told_again() {
        let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        let mut client = outbound.tcp(&[listener.local_addr().unwrap()]).await.unwrap();
        let (served, _) = listener.accept().await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let moment = Duration::from_millis(50);
        assert_eq!(more_than(&served, 0, 8).await, b"hello");
        assert!(timeout(moment, more_than(&served, 5, 8)).await.is_err());
        assert!(timeout(moment, served.readable()).await.is_err(), "it needs no telling");
        tell_again(&served);
        timeout(Duration::from_secs(5), served.readable()).await.expect("it is told").unwrap();
        // Also whoever looks again.
        assert_eq!(more_than(&served, 0, 8).await, b"hello");
        assert_eq!(served.try_read(&mut [0; 8]).unwrap(), 5);
    }
}
