//! A connection of TLS on which neither side has said anything yet.

use crate::net::stream;
use crate::proxy::warm::Unspoken;
use std::io::{self, Read};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Records that a server may say unasked, tickets for example, come in few reads.
const READS: usize = 4;

impl Unspoken for TlsStream<TcpStream> {
    /// The tickets of TLS 1.3 come behind the handshake and are taken; they are not meant for who
    /// speaks inside. Anything else is: bytes, close_notify, an alert, an end.
    fn is_untouched(&mut self) -> bool {
        let (tcp, session) = self.get_mut();
        let tcp: &TcpStream = tcp;
        for _ in 0..READS {
            let is_quiet = session.process_new_packets().is_ok_and(|state| {
                state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed()
            });
            if !is_quiet {
                return false;
            }
            match session.read_tls(&mut AtHand(tcp)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) | Ok(0) => return false,
                Ok(_) => {}
            }
        }
        false
    }

    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// What is there now.
struct AtHand<'a>(&'a TcpStream);

impl Read for AtHand<'_> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        stream::read_now(self.0, piece)
    }
}
