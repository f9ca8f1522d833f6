//! A connection on which neither side has said anything yet that names a destination.

use crate::net::stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// One that can be looked at before it is used.
pub(in crate::proxy) trait Unspoken:
    AsyncRead + AsyncWrite + Send + Unpin + 'static
{
    /// Whether nothing has come on it that nobody asked for: no byte, no end, no error.
    fn is_untouched(&mut self) -> bool;

    /// What carries it.
    fn tcp(&self) -> &TcpStream;
}

impl Unspoken for TcpStream {
    fn is_untouched(&mut self) -> bool {
        stream::is_silent(self)
    }

    fn tcp(&self) -> &TcpStream {
        self
    }
}
