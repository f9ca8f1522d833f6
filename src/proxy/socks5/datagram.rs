//! Datagrams over SOCKS5 (RFC 1928, 7): a header with the destination in front of each payload, and
//! with the source in front of each that comes back.
//!
//! ```text
//! | 0 0 | fragment | address | payload |
//! ```
//!
//! Fragments are not put together, and never made: an implementation that does not support them
//! must drop them (section 7), and none is known that does. Whether a packet comes from the server
//! is the socket's business, which is connected.

use crate::proxy::address;
use crate::proxy::association::{
    DatagramCodec, OpenedDatagram, Unopenable, Unsealable, whole_or_nothing,
};
use crate::target::Target;

/// The longest payload of UDP over IPv4.
const LONGEST_PACKET: usize = 65_507;

const HEADER: usize = 3;

/// Wraps and unwraps payloads; nothing is remembered.
#[derive(Debug, Default)]
pub struct SocksDatagrams;

impl DatagramCodec for SocksDatagrams {
    fn seal(
        &mut self,
        target: &Target,
        payload: &[u8],
        packets: &mut Vec<u8>,
    ) -> Result<(), Unsealable> {
        let begin = packets.len();
        whole_or_nothing(packets, |packets| {
            packets.extend_from_slice(&[0; HEADER]);
            address::append(target, packets).map_err(|_| Unsealable::Target)?;
            if packets.len() - begin + payload.len() > LONGEST_PACKET {
                return Err(Unsealable::TooLarge);
            }
            packets.extend_from_slice(payload);
            Ok(())
        })
    }

    fn open(&mut self, packet: &mut [u8]) -> Result<OpenedDatagram, Unopenable> {
        // Not every server clears the reserved bytes.
        let Some(([_, _, fragment], rest)) = packet.split_first_chunk() else {
            return Err(Unopenable::Forged);
        };
        if *fragment != 0 {
            return Err(Unopenable::Fragment);
        }
        let (source, length) = address::decode(rest).ok_or(Unopenable::Source)?;
        let source = source.address().ok_or(Unopenable::Source)?;
        Ok(OpenedDatagram { source, payload: HEADER + length..packet.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Target {
        Target::addr(text.parse().unwrap())
    }

    #[test]
    fn the_header_has_the_destination() {
        let mut packets = b"before".to_vec();
        SocksDatagrams.seal(&at("192.0.2.1:53"), b"hello", &mut packets).unwrap();
        assert_eq!(packets, b"before\0\0\0\x01\xc0\0\x02\x01\0\x35hello");
        let refused = SocksDatagrams.seal(&Target::Name("".into(), 1), b"x", &mut packets);
        assert_eq!((refused, packets.len()), (Err(Unsealable::Target), 21), "as it was");
        let refused = SocksDatagrams.seal(&at("192.0.2.1:53"), &[0; 65_498], &mut packets);
        assert_eq!((refused, packets.len()), (Err(Unsealable::TooLarge), 21));
        SocksDatagrams.seal(&at("192.0.2.1:53"), &[0; 65_497], &mut packets).unwrap();
    }

    #[test]
    fn what_is_dropped() {
        let open = |packet: &[u8]| SocksDatagrams.open(&mut packet.to_vec()).map(|it| it.payload);
        assert_eq!(open(&[9, 9, 0, 1, 192, 0, 2, 1, 0, 53, 7]), Ok(10..11));
        assert_eq!(open(&[0, 0, 0, 1, 192, 0, 2, 1, 0, 53]), Ok(10..10), "an empty datagram");
        for fragment in [1, 0x81] {
            let piece = [0, 0, fragment, 1, 192, 0, 2, 1, 0, 53, 7];
            assert_eq!(open(&piece), Err(Unopenable::Fragment));
        }
        assert_eq!(open(&[0, 0, 0, 3, 1, b'a', 0, 53, 7]), Err(Unopenable::Source));
        assert_eq!(open(&[0, 0, 0, 1, 192, 0, 2, 1, 0]), Err(Unopenable::Source));
        assert_eq!(open(&[0, 0]), Err(Unopenable::Forged));
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened(
            address in any::<std::net::SocketAddr>(),
            payload in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let target = Target::addr(std::net::SocketAddr::new(address.ip(), address.port()));
            let mut packet = Vec::new();
            SocksDatagrams.seal(&target, &payload, &mut packet).unwrap();
            let opened = SocksDatagrams.open(&mut packet).unwrap();
            prop_assert_eq!(Some(opened.source), target.address());
            prop_assert_eq!(&packet[opened.payload], &payload[..]);
        }

        #[test]
        fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let length = bytes.len();
            if let Ok(opened) = SocksDatagrams.open(&mut bytes) {
                prop_assert!(opened.payload.end == length);
            }
        }
    }
}
