//! What a shadowsocks server sends by UDP: bytes of anybody, and sealed ones that were damaged.
//!
//! The first two bytes of the input say which method, and where a packet is damaged. The rest is a
//! packet, and what a packet carries.

use snet::proxy::association::{DatagramCodec, Unopenable};
use snet::proxy::shadowsocks::cipher::master_key::MasterKey;
use snet::proxy::shadowsocks::cipher::method::Method;
use snet::proxy::shadowsocks::datagram::SaltedDatagrams;
use snet::secret::Secret;
use snet::target::Target;

pub fn run(input: &[u8]) {
    let Some((&[method, damage], bytes)) = input.split_first_chunk() else { return };
    let method = Method::ALL[usize::from(method) % 3];
    let key = MasterKey::new(method, &Secret::new("secret")).expect("any password fits");
    let mut codec = SaltedDatagrams::new(key);
    let opened = codec.open(&mut bytes.to_vec());
    assert_eq!(opened, Err(Unopenable::Forged), "nobody can seal without the key");

    let source = ([203, 0, 113, 1], 443).into();
    let mut packet = Vec::new();
    if codec.seal(&Target::Addr(source), bytes, &mut packet).is_err() {
        assert!(packet.is_empty() && bytes.len() > 65_000, "it is too large");
        return;
    }
    let mut sealed = packet.clone();
    let opened = codec.open(&mut sealed).expect("it was sealed");
    assert_eq!((opened.source, &sealed[opened.payload]), (source, bytes));
    let at = usize::from(damage) * packet.len() / 256;
    packet[at] ^= 1 + damage % 255;
    assert_eq!(codec.open(&mut packet), Err(Unopenable::Forged), "it is damaged");
}
