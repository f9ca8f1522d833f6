//! The name in the client's first bytes, found while the connection is dialled: nothing is taken,
//! and nothing waits for it.
//!
//! A look asks the kernel for what has come (MSG_PEEK). While a hello is not whole the runtime
//! cannot tell when more of it comes, since the socket stays readable all the while; so it is
//! looked at again after a pause that doubles, and at the end of the dial.

use crate::domain::Name;
use crate::net::first_bytes::{peek, peek_now};
use crate::sniff::{self, Sniffed};
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// The pauses between two looks at a hello that is not whole.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(128);

/// How far the look has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstLook {
    /// No byte has come.
    Untouched,
    /// Bytes have come, and the name may be in what follows.
    Unfinished,
    /// A name was found, or none is to be expected, or wanted.
    Over,
}

impl FirstLook {
    /// Looks at what has come by now; `sent`: what was taken of it already. The name is found once.
    pub(super) fn glance(&mut self, stream: &TcpStream, sent: &[u8]) -> Option<Name> {
        if *self == FirstLook::Over {
            return None;
        }
        let mut first = sent[..sent.len().min(sniff::MOST_BYTES)].to_vec();
        let mut rest = vec![0; sniff::MOST_BYTES - first.len()];
        match peek_now(stream, &mut rest) {
            Ok(rest) => first.extend_from_slice(rest),
            Err(_) if !first.is_empty() => {}
            Err(error) => return self.takes_in(Err(error)),
        }
        self.takes_in(Ok(&first))
    }

    fn takes_in(&mut self, peeked: io::Result<&[u8]>) -> Option<Name> {
        let sniffed = match peeked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Ok([]) | Err(_) => Sniffed::Nothing,
            Ok(first) => sniff::stream(first),
        };
        let (next, name) = match sniffed {
            Sniffed::More => (FirstLook::Unfinished, None),
            Sniffed::Nothing => (FirstLook::Over, None),
            Sniffed::Name(name) => (FirstLook::Over, Some(name)),
        };
        *self = next;
        name
    }

    /// Looks until there is a name; for ever if there is none.
    pub(super) async fn name(&mut self, stream: &TcpStream) -> Name {
        let mut pause = FIRST_PAUSE;
        loop {
            match self {
                FirstLook::Untouched if stream.readable().await.is_err() => pending().await,
                FirstLook::Untouched => {}
                FirstLook::Unfinished => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                FirstLook::Over => pending().await,
            }
            let mut first = vec![0; sniff::MOST_BYTES];
            let peeked = match self {
                // A socket that only seemed readable has to count as not readable.
                FirstLook::Untouched => peek(stream, &mut first),
                // Others may have looked, so that it counts as not readable although it is.
                FirstLook::Unfinished | FirstLook::Over => peek_now(stream, &mut first),
            };
            if let Some(name) = self.takes_in(peeked) {
                return name;
            }
        }
    }
}
