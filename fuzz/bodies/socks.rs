//! What a SOCKS5 server sends: its reply, whole and in pieces, and a datagram.

use snet::proxy::association::DatagramCodec;
use snet::proxy::socks5::datagram::SocksDatagrams;
use snet::proxy::socks5::message::{NotSocks, reply};

pub fn run(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(600)];
    if let Ok(Some(whole)) = reply(bytes) {
        assert!((1..=bytes.len()).contains(&whole.length));
    }
    for end in 0..bytes.len() {
        match (reply(&bytes[..end]), reply(&bytes[..end + 1])) {
            (Ok(None), _) | (Err(NotSocks), Err(NotSocks)) => {}
            (Ok(Some(before)), Ok(Some(after))) => {
                assert_eq!(before.code, after.code, "more bytes change nothing");
            }
            (before, after) => panic!("{before:?} became {after:?}"),
        }
    }
    let mut packet = bytes.to_vec();
    if let Ok(opened) = SocksDatagrams.open(&mut packet) {
        assert!(opened.payload.start <= opened.payload.end && opened.payload.end == packet.len());
    }
}
