//! The address header of shadowsocks, which is the address of SOCKS5.

use snet::proxy::address::{decode, encode};

pub fn run(payload: &[u8]) {
    let Some((target, length)) = decode(payload) else { return };
    assert!(length <= payload.len());
    for end in 0..length {
        assert_eq!(decode(&payload[..end]), None, "not before it is whole");
    }
    let header = encode(&target).expect("what was decoded can be encoded");
    assert_eq!(decode(&header), Some((target, header.len())));
}
