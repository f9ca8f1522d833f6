//! Packets of another implementation (shadowsocks-crypto), packets that were touched, that come
//! again, late, from another time or session.

use super::*;
use crate::proxy::shadowsocks::cipher::method::{Algorithm, Method};
use crate::proxy::shadowsocks::cipher::tests::{block, hash};
use crate::proxy::shadowsocks::tests::key;
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use shadowsocks_crypto::CipherKind;
use shadowsocks_crypto::v2::udp::UdpCipher;
use std::net::SocketAddr;

const METHODS: [(Method, CipherKind); 3] = [
    (Method::Blake3Aes128Gcm, CipherKind::AEAD2022_BLAKE3_AES_128_GCM),
    (Method::Blake3Aes256Gcm, CipherKind::AEAD2022_BLAKE3_AES_256_GCM),
    (Method::Blake3Chacha20Poly1305, CipherKind::AEAD2022_BLAKE3_CHACHA20_POLY1305),
];

fn raw(method: Method) -> Vec<u8> {
    (0..method.key_len() as u8).collect()
}

fn site() -> SocketAddr {
    "192.0.2.1:53".parse().unwrap()
}

fn client(method: Method) -> SessionDatagrams {
    SessionDatagrams::new(&key(method)).unwrap()
}

/// A packet of the other implementation's making, or reading.
#[derive(Clone, Debug, PartialEq)]
struct Packet {
    session: u64,
    number: u64,
    body: Vec<u8>,
}

/// Seals as a server or a client of the key `raw` does.
fn seal((method, kind): (Method, CipherKind), packet: &Packet) -> Vec<u8> {
    let Packet { session, number, body } = packet;
    let header: [u8; 16] =
        [session.to_be_bytes(), number.to_be_bytes()].concat().try_into().unwrap();
    let cipher = UdpCipher::new(kind, &raw(method), *session);
    if method.algorithm() == Algorithm::ChaCha20Poly1305 {
        let nonce = [0x39; 24];
        let mut sealed = [&header[..], body, &[0; 16]].concat();
        cipher.encrypt_packet(&nonce, &mut sealed);
        return [&nonce[..], &sealed].concat();
    }
    let mut sealed = [body, &[0; 16][..]].concat();
    cipher.encrypt_packet(&header[4..], &mut sealed);
    [&block(method.algorithm(), &raw(method)).encrypt(header)[..], &sealed].concat()
}

/// Reads a packet whose header the key `first` hides, behind which there are identities.
fn open(
    (method, kind): (Method, CipherKind),
    first: &[u8],
    identities: usize,
    packet: &[u8],
) -> (Packet, [u8; 16]) {
    let word = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    let is_aes = method.algorithm() != Algorithm::ChaCha20Poly1305;
    let (clear, sealed) = packet.split_at(if is_aes { 16 + 16 * identities } else { 24 });
    let mut plain = sealed.to_vec();
    let header: [u8; 16] = if is_aes {
        let hidden = clear[..16].try_into().unwrap();
        let header: [u8; 16] = block(method.algorithm(), first).decrypt(hidden);
        let cipher = UdpCipher::new(kind, &raw(method), word(&header[..8]));
        assert!(cipher.decrypt_packet(&header[4..], &mut plain));
        header
    } else {
        assert!(UdpCipher::new(kind, &raw(method), 0).decrypt_packet(clear, &mut plain));
        plain.drain(..16).collect::<Vec<u8>>().try_into().unwrap()
    };
    plain.truncate(plain.len() - 16);
    let (session, number) = (word(&header[..8]), word(&header[8..]));
    (Packet { session, number, body: plain }, header)
}

/// What a server says to the session of `client`.
#[derive(Clone, Copy)]
struct Answer {
    method: (Method, CipherKind),
    session: u64,
    number: u64,
    kind: u8,
    time: u64,
    to: u64,
    padding: usize,
}

impl Answer {
    fn new(method: (Method, CipherKind), client: &SessionDatagrams) -> Self {
        let (kind, time, to) = (1, unix_time(), client.own.id);
        Answer { method, session: 7, number: 0, kind, time, to, padding: 0 }
    }

    fn packet(&self) -> Vec<u8> {
        let mut body = vec![self.kind];
        body.extend(self.time.to_be_bytes());
        body.extend(self.to.to_be_bytes());
        body.extend((self.padding as u16).to_be_bytes());
        body.extend(vec![0xff; self.padding]);
        address::append(&Target::addr(site()), &mut body).unwrap();
        body.extend(b"hello");
        seal(self.method, &Packet { session: self.session, number: self.number, body })
    }

    fn to(self, client: &mut SessionDatagrams) -> Result<(), Unopenable> {
        let mut packet = self.packet();
        let opened = client.open(&mut packet)?;
        assert_eq!((opened.source, &packet[opened.payload]), (site(), &b"hello"[..]));
        Ok(())
    }
}

#[test]
fn another_implementation_reads_ours() {
    for method in METHODS {
        let mut client = client(method.0);
        let (mut packets, mut ends) = (Vec::new(), vec![0]);
        for payload in [&b"one"[..], b"", &[7; 1400]] {
            client.seal(&Target::addr(site()), payload, &mut packets).unwrap();
            ends.push(packets.len());
        }
        for (number, payload) in [&b"one"[..], b"", &[7; 1400]].into_iter().enumerate() {
            let packet = &packets[ends[number]..ends[number + 1]];
            let (read, _) = open(method, &raw(method.0), 0, packet);
            assert_eq!((read.session, read.number), (client.own.id, number as u64));
            let time = u64::from_be_bytes(read.body[1..9].try_into().unwrap());
            assert!(unix_time().abs_diff(time) <= 1);
            let address = [1, 192, 0, 2, 1, 0, 53];
            assert_eq!(read.body[0], 0, "a request");
            assert_eq!(read.body[9..], [&[0, 0][..], &address, payload].concat());
        }
    }
}

#[test]
fn identities_follow_the_header() {
    for method in &METHODS[..2] {
        let key_len = method.0.key_len();
        let (first, second) = (vec![0xf0; key_len], vec![0x0f; key_len]);
        let text = [&first, &second, &raw(method.0)].map(|key| STANDARD.encode(key)).join(":");
        let key = MasterKey::new(method.0, &Secret::new(text)).unwrap();
        let mut client = SessionDatagrams::new(&key).unwrap();
        let mut packet = Vec::new();
        client.seal(&Target::addr(site()), b"hello", &mut packet).unwrap();
        let (read, header) = open(*method, &first, 2, &packet);
        assert_eq!(read.session, client.own.id);
        for (at, own, next) in [(0, &first, &second), (1, &second, &raw(method.0))] {
            let hidden = packet[16 + at * 16..][..16].try_into().unwrap();
            let shown = block(method.0.algorithm(), own).decrypt(hidden);
            let hash = hash(next);
            assert_eq!(shown, std::array::from_fn(|n| hash[n] ^ header[n]), "identity {at}");
        }
        // Answers come under the user's key.
        Answer::new(*method, &client).to(&mut client).unwrap();
    }
}

#[test]
fn ours_reads_another_implementation() {
    for method in METHODS {
        let mut client = client(method.0);
        for (number, padding) in [(0, 0), (1, 1), (2, 900)] {
            Answer { number, padding, ..Answer::new(method, &client) }.to(&mut client).unwrap();
        }
        let beyond = Answer { number: 3, padding: 0, ..Answer::new(method, &client) };
        let mut cut = beyond.packet();
        cut.truncate(cut.len() - 1);
        assert_eq!(client.open(&mut cut), Err(Unopenable::Forged));
    }
}

#[test]
fn what_was_touched_or_cut_does_not_open() {
    for method in METHODS {
        let mut client = client(method.0);
        let packet = Answer::new(method, &client).packet();
        for byte in 0..packet.len() {
            let mut touched = packet.clone();
            touched[byte] ^= 0x40;
            assert_eq!(client.open(&mut touched), Err(Unopenable::Forged), "byte {byte}");
            let mut cut = packet[..byte].to_vec();
            assert_eq!(client.open(&mut cut), Err(Unopenable::Forged), "{byte} bytes");
        }
        assert!(client.others.is_empty(), "they begin no session");
        assert!(client.open(&mut packet.clone()).is_ok(), "and shut nothing out");
    }
}

#[test]
fn a_packet_counts_once() {
    for method in METHODS {
        let mut client = client(method.0);
        let answer = |number| Answer { number, ..Answer::new(method, &client) };
        let [third, late, latest] = [3, 9_000 - window::WINDOW, 9_000].map(answer);
        let too_late = answer(9_000 - window::WINDOW - 1);
        assert_eq!(third.to(&mut client), Ok(()));
        assert_eq!(third.to(&mut client), Err(Unopenable::Replayed));
        assert_eq!(latest.to(&mut client), Ok(()));
        assert_eq!(late.to(&mut client), Ok(()), "thousands late");
        assert_eq!(late.to(&mut client), Err(Unopenable::Replayed));
        assert_eq!(too_late.to(&mut client), Err(Unopenable::Replayed));
    }
}

#[test]
fn time_kind_and_session_have_to_fit() {
    for method in METHODS {
        let mut client = client(method.0);
        let good = Answer::new(method, &client);
        let far = Answer { number: u64::MAX, ..good };
        for wrong in [
            Answer { time: good.time - 31, ..far },
            Answer { time: good.time + 32, ..far },
            Answer { kind: 0, ..far },
            Answer { to: good.to ^ 1, ..far },
        ] {
            assert_eq!(wrong.to(&mut client), Err(Unopenable::Stale));
        }
        for (number, time) in [(0, good.time - 29), (1, good.time + 29)] {
            let answer = Answer { number, time, ..good };
            assert_eq!(answer.to(&mut client), Ok(()), "what was wrong has moved no window");
        }
        // A packet of a client, to a client.
        let mut own = Vec::new();
        client.seal(&Target::addr(site()), b"", &mut own).unwrap();
        assert!(client.open(&mut own).is_err());
    }
}

#[test]
fn a_server_that_restarts_is_heard_at_once() {
    for method in METHODS {
        let mut client = client(method.0);
        let answer = |session, number| Answer { session, number, ..Answer::new(method, &client) };
        let of = |session| [0, 1, 2, 3].map(|number| answer(session, number));
        let [one, two, three] = [of(1), of(2), of(3)];
        for (packet, expected) in [
            (one[0], Ok(())),
            (two[0], Ok(())),
            (one[1], Ok(())),
            (two[0], Err(Unopenable::Replayed)),
            (one[1], Err(Unopenable::Replayed)),
            (three[0], Ok(())),
            (two[1], Ok(())),
            (three[0], Err(Unopenable::Replayed)),
        ] {
            let session = (packet.session, packet.number);
            assert_eq!(packet.to(&mut client), expected, "{session:?}");
        }
        assert_eq!(client.others.len(), HEARD, "memory is bounded");
    }
}

#[test]
fn numbers_are_used_once() {
    let mut client = client(Method::Blake3Aes128Gcm);
    client.own.next = Some(u64::MAX);
    let mut packets = Vec::new();
    client.seal(&Target::addr(site()), b"last", &mut packets).unwrap();
    let length = packets.len();
    let (read, _) = open(METHODS[0], &raw(METHODS[0].0), 0, &packets);
    assert_eq!(read.number, u64::MAX);
    let spent = client.seal(&Target::addr(site()), b"more", &mut packets);
    assert_eq!((spent, packets.len()), (Err(Unsealable::Spent), length));
}

#[test]
fn what_cannot_be_sealed_uses_no_number() {
    for method in METHODS {
        let mut client = client(method.0);
        let mut packets = b"before".to_vec();
        let refused = client.seal(&Target::addr(site()), &[0; 65_500], &mut packets);
        assert_eq!(refused, Err(Unsealable::TooLarge));
        let unnamed = Target::Name("".into(), 1);
        assert_eq!(client.seal(&unnamed, b"", &mut packets), Err(Unsealable::Target));
        assert_eq!((packets, client.own.next), (b"before".to_vec(), Some(0)));
    }
}

#[test]
fn each_association_has_a_session() {
    let method = Method::Blake3Aes256Gcm;
    assert_ne!(client(method).own.id, client(method).own.id);
    let of_sip004 = SessionDatagrams::new(&key(Method::Aes128Gcm)).unwrap_err();
    assert_eq!(of_sip004.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_source_is_an_address() {
    let method = Method::Blake3Chacha20Poly1305;
    let (mut client, mut server) =
        (client(method), SessionDatagrams::of_server(&key(method)).unwrap());
    let mut question = Vec::new();
    let name = Target::Name("example.com".into(), 53);
    client.seal(&name, b"hello", &mut question).unwrap();
    let (asked, payload) = server.open_any(&mut question).unwrap();
    assert_eq!((asked, &question[payload]), (name.clone(), &b"hello"[..]));
    let mut answer = Vec::new();
    server.seal(&name, b"", &mut answer).unwrap();
    assert_eq!(client.open(&mut answer), Err(Unopenable::Source));
    let mut answer = Vec::new();
    server.seal(&Target::addr(site()), b"", &mut answer).unwrap();
    assert_eq!(client.open(&mut answer).unwrap().source, site());
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..6),
        order: prop::sample::Index,
        (method, _) in prop::sample::select(&METHODS[..]),
    ) {
        let mut client = client(method);
        let mut server = SessionDatagrams::of_server(&key(method)).unwrap();
        let mut packets: Vec<Vec<u8>> = Vec::new();
        for payload in &payloads {
            let mut packet = Vec::new();
            client.seal(&Target::addr(site()), payload, &mut packet).unwrap();
            packets.push(packet);
        }
        let first = order.index(packets.len());
        for at in (first..packets.len()).chain(0..first) {
            let packet = &mut packets[at];
            let (target, payload) = server.open_any(packet).unwrap();
            prop_assert_eq!((target, &packet[payload]), (Target::addr(site()), &payloads[at][..]));
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for (method, _) in METHODS {
            let opened = client(method).open(&mut bytes.clone());
            prop_assert_eq!(opened, Err(Unopenable::Forged));
        }
    }
}
