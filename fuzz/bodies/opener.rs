//! What a shadowsocks server sends: bytes of anybody, and sealed ones that were cut and damaged.
//!
//! The first three bytes of the input say which method, how the bytes are cut, and where they are
//! damaged.

use snet::proxy::shadowsocks::cipher::master_key::MasterKey;
use snet::proxy::shadowsocks::cipher::method::{Edition, Method};
use snet::proxy::shadowsocks::opener::{LONGEST_PIECE, Opener};
use snet::proxy::shadowsocks::sealer::{self, Sealer};
use snet::secret::Secret;
use snet::target::Target;

pub fn run(input: &[u8]) {
    let Some((&[method, step, damage], bytes)) = input.split_first_chunk() else { return };
    let method = Method::ALL[usize::from(method) % Method::ALL.len()];
    let key = key(method);
    let target = Target::addr(([203, 0, 113, 1], 443).into());
    let request = Sealer::request(&key, &target).expect("random numbers");
    let step = usize::from(step).max(1);
    assert!(open(&key, &request, bytes, step).is_empty(), "nobody can seal without the key");

    let bytes = &bytes[..bytes.len().min(4_000)];
    if bytes.is_empty() {
        // Nothing is not sealed.
        return;
    }
    let mut sealer = Sealer::answer(&key, request.salt(&key)).expect("random numbers");
    let mut memory = vec![0; sealer::memory(1)];
    let filled = sealer::place(&mut memory, 0, bytes);
    let run = sealer.seal(&mut memory, filled).expect("it fits");
    let mut sealed = memory[run].to_vec();
    assert_eq!(open(&key, &request, &sealed, step), bytes);
    let at = usize::from(damage) * sealed.len() / 256;
    sealed[at] ^= 1 + damage % 255;
    assert!(open(&key, &request, &sealed, step).is_empty(), "it is one chunk, and it is damaged");
}

/// Bytes 0, 1, 2, ... where a key has to be.
fn key(method: Method) -> MasterKey {
    let password = match (method.edition(), method.key_len()) {
        (Edition::Sip004, _) => "secret",
        (Edition::Sip022, 16) => "AAECAwQFBgcICQoLDA0ODw==",
        (Edition::Sip022, _) => "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    };
    MasterKey::new(method, &Secret::new(password)).expect("it fits")
}

/// The plain bytes of what is received in pieces of this length.
fn open(key: &MasterKey, request: &Sealer, received: &[u8], step: usize) -> Vec<u8> {
    let mut opener = Opener::answer(key.clone(), request);
    let (mut waiting, mut plain) = (Vec::new(), Vec::new());
    for piece in received.chunks(step) {
        waiting.extend_from_slice(piece);
        let Ok(opened) = opener.open(&mut waiting) else { return plain };
        assert!(opened.plain <= opened.used && opened.used <= waiting.len());
        plain.extend_from_slice(&waiting[..opened.plain]);
        waiting.drain(..opened.used);
        assert!(waiting.len() < opener.needs() && opener.needs() <= LONGEST_PIECE);
        let _ = opener.may_end(waiting.len());
    }
    plain
}
