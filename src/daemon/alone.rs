//! One snet in a network namespace: two would take each other's rules away, whatever ports and
//! backend they use.
//!
//! The lock is a listening socket with an abstract name (unix(7)): such names belong to the network
//! namespace, as the rules do, need no file system, and are free again the moment the process dies,
//! whatever killed it. Who holds it is told by the kernel (SO_PEERCRED).

use super::Error;
use nix::sys::socket::{getsockopt, sockopt};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

const NAME: &str = "snet.the-one-with-the-rules";

/// Held for as long as the process may have rules in the kernel.
#[derive(Debug)]
pub(super) struct Alone {
    _lock: UnixListener,
}

/// Takes the lock.
///
/// # Errors
/// [`Error::Alone`]: somebody has it. [`Error::Lock`]: the kernel gives no socket.
pub(super) fn claim() -> Result<Alone, Error> {
    claim_named(NAME)
}

/// The process that has the lock.
pub(super) fn holder() -> Option<i32> {
    holder_of(NAME)
}

fn claim_named(name: &str) -> Result<Alone, Error> {
    let bind = || UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?);
    // Whoever had it may end between our two questions.
    for _ in 0..3 {
        match bind() {
            Ok(lock) => return Ok(Alone { _lock: lock }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if let Some(pid) = holder_of(name) {
                    return Err(Error::Alone { pid });
                }
            }
            Err(error) => return Err(Error::Lock(error)),
        }
    }
    Err(Error::Lock(io::ErrorKind::AddrInUse.into()))
}

fn holder_of(name: &str) -> Option<i32> {
    let address = SocketAddr::from_abstract_name(name).ok()?;
    let stream = UnixStream::connect_addr(&address).ok()?;
    getsockopt(&stream, sockopt::PeerCredentials).ok().map(|holder| holder.pid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_who_is_there() {
        let name = format!("snet-test-{}", std::process::id());
        assert_eq!(holder_of(&name), None);
        let first = claim_named(&name).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(claim_named(&name), Err(Error::Alone { pid }) if pid == own));
        assert_eq!(holder_of(&name), Some(own));
        drop(first);
        assert_eq!(holder_of(&name), None);
        assert!(claim_named(&name).is_ok());
    }
}
