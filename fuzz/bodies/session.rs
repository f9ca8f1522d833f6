//! What a server of shadowsocks 2022 sends by UDP: bytes of anybody, sealed packets that come
//! twice, and damaged ones.
//!
//! The first two bytes of the input say which method, and where a packet is damaged. The rest is a
//! packet, and what a packet carries.

use snet::proxy::association::{DatagramCodec, Unopenable};
use snet::proxy::shadowsocks::cipher::master_key::MasterKey;
use snet::proxy::shadowsocks::cipher::method::Method;
use snet::proxy::shadowsocks::sessions::SessionDatagrams;
use snet::secret::Secret;
use snet::target::Target;

pub fn run(input: &[u8]) {
    let Some((&[method, damage], bytes)) = input.split_first_chunk() else { return };
    let key = key(usize::from(method) % 3);
    let mut client = SessionDatagrams::new(&key).expect("random numbers");
    let opened = client.open(&mut bytes.to_vec());
    assert_eq!(opened, Err(Unopenable::Forged), "nobody can seal without the key");

    let mut server = SessionDatagrams::of_server(&key).expect("random numbers");
    let source = ([203, 0, 113, 1], 443).into();
    let mut question = Vec::new();
    client.seal(&Target::Addr(source), b"", &mut question).expect("it fits");
    server.open_any(&mut question).expect("it was sealed");

    let mut packet = Vec::new();
    if server.seal(&Target::Addr(source), bytes, &mut packet).is_err() {
        assert!(packet.is_empty() && bytes.len() > 65_000, "it is too large");
        return;
    }
    let mut damaged = packet.clone();
    let at = usize::from(damage) * packet.len() / 256;
    damaged[at] ^= 1 + damage % 255;
    assert_eq!(client.open(&mut damaged), Err(Unopenable::Forged), "it is damaged");
    let mut sealed = packet.clone();
    let opened = client.open(&mut sealed).expect("it was sealed");
    assert_eq!((opened.source, &sealed[opened.payload]), (source, bytes));
    assert_eq!(client.open(&mut packet), Err(Unopenable::Replayed), "once");
}

/// Bytes 0, 1, 2, ...
fn key(number: usize) -> MasterKey {
    let long = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let (method, password) = [
        (Method::Blake3Aes128Gcm, "AAECAwQFBgcICQoLDA0ODw=="),
        (Method::Blake3Aes256Gcm, long),
        (Method::Blake3Chacha20Poly1305, long),
    ][number];
    MasterKey::new(method, &Secret::new(password)).expect("it fits")
}
