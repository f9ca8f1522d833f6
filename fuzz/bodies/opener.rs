//! What a shadowsocks server sends: bytes of anybody, and sealed ones that were cut and damaged.
//!
//! The first three bytes of the input say which method, how the bytes are cut, and where they are
//! damaged.

use snet::proxy::shadowsocks::cipher::{MasterKey, Method};
use snet::proxy::shadowsocks::opener::Opener;
use snet::proxy::shadowsocks::sealer::{self, Sealer};
use snet::secret::Secret;

pub fn run(input: &[u8]) {
    let Some((&[method, step, damage], bytes)) = input.split_first_chunk() else { return };
    let method = [Method::Aes128Gcm, Method::Aes256Gcm, Method::Chacha20IetfPoly1305]
        [usize::from(method) % 3];
    let key = MasterKey::new(method, &Secret::new("secret"));
    let step = usize::from(step).max(1);
    assert!(open(&key, bytes, step).is_empty(), "nobody can seal without the key");

    let bytes = &bytes[..bytes.len().min(4_000)];
    if bytes.is_empty() {
        // Nothing is not sealed.
        return;
    }
    let mut sealer = Sealer::new(&key).expect("random numbers");
    let mut memory = vec![0; sealer::memory(1)];
    let filled = sealer::place(&mut memory, 0, bytes);
    let run = sealer.seal(&mut memory, filled).expect("it fits");
    let mut sealed = memory[run].to_vec();
    assert_eq!(open(&key, &sealed, step), bytes);
    let at = usize::from(damage) * sealed.len() / 256;
    sealed[at] ^= 1 + damage % 255;
    assert!(open(&key, &sealed, step).is_empty(), "it is one chunk, and it is damaged");
}

/// The plain bytes of what is received in pieces of this length.
fn open(key: &MasterKey, received: &[u8], step: usize) -> Vec<u8> {
    let (mut opener, mut waiting, mut plain) = (Opener::new(key.clone()), Vec::new(), Vec::new());
    for piece in received.chunks(step) {
        waiting.extend_from_slice(piece);
        let Ok(opened) = opener.open(&mut waiting) else { return plain };
        assert!(opened.plain <= opened.used && opened.used <= waiting.len());
        plain.extend_from_slice(&waiting[..opened.plain]);
        waiting.drain(..opened.used);
        let _ = opener.may_end(waiting.len());
    }
    plain
}
