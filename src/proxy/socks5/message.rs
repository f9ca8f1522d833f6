//! The messages of SOCKS5 (RFC 1928) and of its user names and passwords (RFC 1929), as a client
//! writes and reads them. Pure; any bytes may come.

use crate::proxy::address;
use crate::proxy::credentials::Credentials;
use crate::target::Target;
use std::io;
use zeroize::Zeroizing;

pub(super) const VERSION: u8 = 5;

/// RFC 1929: the version of the messages below.
const PASSWORD_VERSION: u8 = 1;

const NO_AUTHENTICATION: u8 = 0;
const GSSAPI: u8 = 1;
const PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;

/// RFC 1929, 2: a user name, and a password, are at most so long.
pub const LONGEST_CREDENTIAL: usize = 255;

/// What is asked of the server (RFC 1928, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocksCommand {
    Connect = 1,
    UdpAssociate = 3,
}

/// The server's choice among the ways that the greeting offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Open,
    Password,
    /// One that was not offered: what this is called.
    Other(&'static str),
    /// It wants none of them.
    None,
}

/// What the server says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocksReply {
    /// 0: it is done.
    pub code: u8,
    /// The address that it is done from, or where datagrams are taken. A refusal may lack it.
    pub bound: Option<Target>,
    /// Bytes of it.
    pub length: usize,
}

/// These bytes never become a reply.
#[derive(Debug, PartialEq, Eq)]
pub struct NotSocks;

/// Offers what we can: passwords only with one at hand, since a server may insist on what is
/// offered.
pub(super) fn greeting(has_credentials: bool) -> &'static [u8] {
    match has_credentials {
        false => &[VERSION, 1, NO_AUTHENTICATION],
        true => &[VERSION, 2, NO_AUTHENTICATION, PASSWORD],
    }
}

pub(super) fn choice([version, method]: [u8; 2]) -> Result<Choice, NotSocks> {
    if version != VERSION {
        return Err(NotSocks);
    }
    Ok(match method {
        NO_AUTHENTICATION => Choice::Open,
        PASSWORD => Choice::Password,
        NONE_ACCEPTABLE => Choice::None,
        GSSAPI => Choice::Other("GSSAPI"),
        _ => Choice::Other("another"),
    })
}

/// User name and password; wiped after use.
///
/// # Errors
/// One of them is longer than [`LONGEST_CREDENTIAL`].
pub(super) fn credentials(credentials: &Credentials) -> io::Result<Zeroizing<Vec<u8>>> {
    let Credentials { username, password } = credentials;
    let mut message = Zeroizing::new(Vec::with_capacity(3 + 2 * LONGEST_CREDENTIAL));
    message.push(PASSWORD_VERSION);
    for part in [username.as_bytes(), password.expose()] {
        let too_long = || {
            let text = "a user name and a password of SOCKS5 have at most 255 bytes each";
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        message.push(u8::try_from(part.len()).map_err(|_| too_long())?);
        message.extend_from_slice(part);
    }
    Ok(message)
}

/// Whether the server takes them. (microsocks and others answer with the version of SOCKS.)
pub(super) fn is_accepted([version, status]: [u8; 2]) -> Result<bool, NotSocks> {
    match version {
        PASSWORD_VERSION | VERSION => Ok(status == 0),
        _ => Err(NotSocks),
    }
}

/// # Errors
/// The target is a name that does not fit.
pub(super) fn request(command: SocksCommand, target: &Target) -> io::Result<Vec<u8>> {
    let mut request = Vec::with_capacity(3 + 1 + 16 + 2);
    request.extend_from_slice(&[VERSION, command as u8, 0]);
    address::append(target, &mut request)?;
    Ok(request)
}

/// Reads what has come so far; `None`: more is needed.
///
/// # Errors
/// Whatever comes behind them, they are no reply.
pub fn reply(bytes: &[u8]) -> Result<Option<SocksReply>, NotSocks> {
    if bytes.first().is_some_and(|version| *version != VERSION) {
        return Err(NotSocks);
    }
    let Some([_, code, _, kind]) = bytes.first_chunk() else { return Ok(None) };
    let length = match kind {
        1 => 4 + 4 + 2,
        4 => 4 + 16 + 2,
        3 => match bytes.get(4) {
            Some(length) => 4 + 1 + usize::from(*length) + 2,
            None => return Ok(None),
        },
        // A refusal counts whatever stands there.
        _ if *code != 0 => bytes.len(),
        _ => return Err(NotSocks),
    };
    if bytes.len() < length {
        return Ok(None);
    }
    let bound = address::decode(&bytes[3..length]).map(|(target, _)| target);
    Ok(Some(SocksReply { code: *code, bound, length }))
}

/// What a refusal says (RFC 1928, 6).
pub(super) fn meaning(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "a code of its own",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use proptest::prelude::*;

    #[test]
    fn requests() {
        let target = Target::Name("a.b".into(), 443);
        let expected = [5, 1, 0, 3, 3, b'a', b'.', b'b', 1, 187];
        assert_eq!(request(SocksCommand::Connect, &target).unwrap(), expected);
        let any = Target::addr("0.0.0.0:0".parse().unwrap());
        let expected = [5, 3, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(request(SocksCommand::UdpAssociate, &any).unwrap(), expected);
        let me =
            |password: &str| Credentials { username: "me".into(), password: Secret::new(password) };
        assert_eq!(*credentials(&me("pw")).unwrap(), [1, 2, b'm', b'e', 2, b'p', b'w']);
        assert_eq!(*credentials(&me("")).unwrap(), [1, 2, b'm', b'e', 0]);
        assert!(credentials(&me(&"p".repeat(256))).is_err());
    }

    #[test]
    fn answers() {
        assert_eq!(choice([5, 0]), Ok(Choice::Open));
        assert_eq!(choice([5, 2]), Ok(Choice::Password));
        assert_eq!(choice([5, 255]), Ok(Choice::None));
        assert_eq!(choice([5, 1]), Ok(Choice::Other("GSSAPI")));
        assert_eq!(choice([4, 0]), Err(NotSocks));
        assert_eq!(
            [[1, 0], [5, 0], [1, 1], [1, 255]].map(is_accepted),
            [Ok(true), Ok(true), Ok(false), Ok(false)]
        );
        assert_eq!(is_accepted([b'H', b'T']), Err(NotSocks));
    }

    #[test]
    fn replies_end_where_they_end() {
        for (bytes, bound) in [
            (&[5, 0, 0, 1, 192, 0, 2, 1, 0, 80, b'S'] as &[u8], "192.0.2.1:80"),
            (&[5, 0, 0, 3, 3, b'a', b'.', b'b', 0, 80, b'S'], "a.b:80"),
            (&[5, 0, 7, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80, 1], "[::1]:80"),
        ] {
            let end = bytes.len() - 1;
            let found = reply(bytes).unwrap().unwrap();
            assert_eq!((found.code, found.length), (0, end));
            assert_eq!(found.bound.unwrap().to_string(), bound);
            for short in 0..end {
                assert_eq!(reply(&bytes[..short]), Ok(None), "{bound}: {short}");
            }
        }
        // An empty name is no address, but the reply is one.
        let found = reply(&[5, 0, 0, 3, 0, 0, 80]).unwrap().unwrap();
        assert_eq!((found.bound, found.length), (None, 7));
        assert_eq!(reply(&[5, 7, 0, 0]).unwrap().unwrap().code, 7);
        assert_eq!(reply(&[5, 0, 0, 9]), Err(NotSocks));
        assert_eq!(reply(b"HTTP/1.1 400"), Err(NotSocks));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for bytes in [bytes.clone(), [&[5, 0, 0][..], &bytes].concat()] {
                if let Ok(Some(found)) = reply(&bytes) {
                    prop_assert!(found.length <= bytes.len());
                }
            }
        }
    }
}
