//! The address of a destination on the wire, as SOCKS5 (RFC 1928, 5) and shadowsocks write it: a
//! type, the address or a length-prefixed name, and the port in network order.

use crate::target::Target;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// The bytes for a destination.
///
/// # Errors
/// `InvalidInput` for a name of more than 255 bytes or of none.
pub fn encode(target: &Target) -> io::Result<Vec<u8>> {
    // A type, the longest address and a port.
    let mut bytes = Vec::with_capacity(1 + 16 + 2);
    append(target, &mut bytes)?;
    Ok(bytes)
}

/// The same, behind other bytes.
///
/// # Errors
/// As [`encode`]; nothing is appended then.
pub fn append(target: &Target, bytes: &mut Vec<u8>) -> io::Result<()> {
    match target {
        Target::Addr(address) => match address.ip() {
            IpAddr::V4(v4) => {
                bytes.push(IPV4);
                bytes.extend_from_slice(&v4.octets());
            }
            IpAddr::V6(v6) => {
                bytes.push(IPV6);
                bytes.extend_from_slice(&v6.octets());
            }
        },
        Target::Name(name, _) | Target::Named { name, .. } => {
            let unfit = || io::Error::new(io::ErrorKind::InvalidInput, "a name has 1 to 255 bytes");
            let length = u8::try_from(name.len()).ok().filter(|length| *length > 0);
            let length = length.ok_or_else(unfit)?;
            bytes.extend_from_slice(&[NAME, length]);
            bytes.extend_from_slice(name.as_bytes());
        }
    }
    bytes.extend_from_slice(&target.port().to_be_bytes());
    Ok(())
}

/// The destination at the start of `bytes`, and how many of them it takes: what a server reads (the
/// selftest's, the tests'). `None` while the address is incomplete, or if it is not one.
pub fn decode(bytes: &[u8]) -> Option<(Target, usize)> {
    let port = |at: usize| {
        let port = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(port))
    };
    match *bytes.first()? {
        IPV4 => {
            let octets: [u8; 4] = bytes.get(1..5)?.try_into().ok()?;
            Some((Target::addr(SocketAddr::new(Ipv4Addr::from(octets).into(), port(5)?)), 7))
        }
        IPV6 => {
            let octets: [u8; 16] = bytes.get(1..17)?.try_into().ok()?;
            Some((Target::addr(SocketAddr::new(Ipv6Addr::from(octets).into(), port(17)?)), 19))
        }
        NAME => {
            let end = 2 + usize::from(*bytes.get(1)?);
            let name = std::str::from_utf8(bytes.get(2..end)?).ok().filter(|n| !n.is_empty())?;
            Some((Target::Name(name.into(), port(end)?), end + 2))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_each_kind() {
        let of = |target: Target| encode(&target).unwrap();
        assert_eq!(of(Target::addr("192.0.2.1:80".parse().unwrap())), [1, 192, 0, 2, 1, 0, 80]);
        assert_eq!(of(Target::Name("a.b".into(), 443)), [3, 3, b'a', b'.', b'b', 1, 187]);
        let (address, name) = ("192.0.2.1:443".parse().unwrap(), "a.b".into());
        let named = of(Target::Named { address, name });
        assert_eq!(named, [3, 3, b'a', b'.', b'b', 1, 187], "the name is what a proxy is told");
        let v6 = of(Target::addr("[2001:db8::1]:53".parse().unwrap()));
        assert_eq!((v6.len(), v6[0], v6[16], v6[18]), (19, 4, 1, 53));
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for target in [
            Target::addr("192.0.2.1:80".parse().unwrap()),
            Target::addr("[2001:db8::1]:80".parse().unwrap()),
            Target::Name("www.example.com".into(), 65535),
        ] {
            let header = encode(&target).unwrap();
            assert_eq!(decode(&header), Some((target, header.len())));
            for end in 0..header.len() {
                assert_eq!(decode(&header[..end]), None);
            }
        }
        assert_eq!(decode(&[9; 40]), None);
    }

    #[test]
    fn a_name_has_bounds() {
        assert!(encode(&Target::Name("".into(), 1)).is_err());
        assert!(encode(&Target::Name("a".repeat(256).into(), 1)).is_err());
        assert!(encode(&Target::Name("a".repeat(255).into(), 1)).is_ok());
    }
}
