//! Names from real hellos, published packets, and whatever else comes.

use super::quic_keys::{InitialKeys, QuicVersion};
use super::quic_packet::HIDDEN;
use super::*;
use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::quic::{ClientConnection, Version};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

fn name(text: &str) -> Sniffed {
    Sniffed::Name(text.parse().unwrap())
}

/// A client that offers so many protocols, each of 200 bytes: its hello has several segments.
fn client(protocols: u8) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let config = config.with_root_certificates(RootCertStore::empty());
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = (0..protocols).map(|number| vec![number; 200]).collect();
    config
}

/// What a client sends first.
pub(crate) fn hello(host: &'static str, protocols: u8) -> Vec<u8> {
    let host = ServerName::try_from(host).unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(client(protocols)), host).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// The type of the extension that encrypts a hello.
pub(crate) const ECH: u16 = 0xfe0d;

/// With a further extension, and all lengths as they have to be. The hello is one record.
pub(crate) fn extended(hello: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let added = [&kind.to_be_bytes()[..], &u16::try_from(data.len()).unwrap().to_be_bytes(), data];
    let added = added.concat();
    let mut longer = [hello, &added[..]].concat();
    let session = 5 + 4 + 34;
    let suites = session + 1 + usize::from(hello[session]);
    let suites_length = usize::from(u16::from_be_bytes([hello[suites], hello[suites + 1]]));
    let compression = suites + 2 + suites_length;
    let extensions = compression + 1 + usize::from(hello[compression]);
    for at in [3, 7, extensions] {
        let length = u16::from_be_bytes([longer[at], longer[at + 1]]);
        let length = length + u16::try_from(added.len()).unwrap();
        longer[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    longer
}

/// The same handshake in records of so many bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&hello[..3], &length[..], part].concat()
    };
    hello[5..].chunks(size).flat_map(record).collect()
}

/// The name comes with the last byte that it needs, and stays.
fn comes_once(bytes: &[u8], wanted: &Sniffed) {
    let mut last = Sniffed::More;
    for end in 0..=bytes.len() {
        let sniffed = stream(&bytes[..end]);
        assert!(last == Sniffed::More || sniffed == last, "{end}: {last:?}, then {sniffed:?}");
        last = sniffed;
    }
    assert_eq!(last, *wanted);
}

#[test]
fn a_hello_in_any_number_of_segments_and_records() {
    for protocols in [0, 15] {
        let hello = hello("www.Far.example", protocols);
        assert!(protocols == 0 || hello.len() > 3000);
        comes_once(&hello, &name("www.far.example"));
        // Each byte in a record of its own would be more than is looked at.
        for size in [if protocols == 0 { 1 } else { 7 }, 1000] {
            comes_once(&in_records(&hello, size), &name("www.far.example"));
        }
        assert_eq!(stream(&hello[..hello.len() - 1]), Sniffed::More);
    }
    comes_once(&hello("192.0.2.1", 0), &Sniffed::Nothing);
}

#[test]
fn the_shared_name_of_an_encrypted_hello_is_none() {
    let shared = hello("cloudflare-ech.com", 0);
    comes_once(&shared, &name("cloudflare-ech.com"));
    comes_once(&extended(&shared, ECH, &[0; 200]), &Sniffed::Nothing);
    // Browsers send one that means nothing to every server.
    comes_once(&extended(&hello("far.example", 0), ECH, &[0; 200]), &name("far.example"));
    comes_once(&extended(&hello("far.example", 0), 0x7a7a, &[]), &name("far.example"));
}

/// A hello alone may be sent twice: not with early data, nor what is less or more than a hello.
#[test]
fn only_a_hello_may_be_repeated() {
    const EARLY_DATA: u16 = 42;
    for protocols in [0, 15] {
        let hello = hello("www.far.example", protocols);
        for bytes in [hello.clone(), in_records(&hello, 100), extended(&hello, 0x7a7a, &[1, 2])] {
            let ends: Vec<_> = (0..bytes.len()).map(|end| first_flight(&bytes[..end])).collect();
            assert!(ends.iter().all(|it| *it == FirstFlight::More), "{ends:?}");
            assert_eq!(first_flight(&bytes), FirstFlight::Hello);
            for more in [&[22u8][..], &[23, 3, 3, 0, 1, 0], &[20, 3, 3, 0, 1, 1], &bytes] {
                let more = first_flight(&[&bytes, more].concat());
                assert_ne!(more, FirstFlight::Hello);
            }
        }
        let early = extended(&hello, EARLY_DATA, &[]);
        assert_eq!(first_flight(&early), FirstFlight::Other);
    }
    // The last extension says that it is longer than the hello.
    let mut broken = extended(&hello("far.example", 0), 0x7a7a, &[0, 0]);
    let length = broken.len() - 3;
    broken[length] = 9;
    assert_eq!(first_flight(&broken), FirstFlight::Other);
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x\r\n", &[22, 3, 1, 0, 1, 2], &[22, 2]] {
        assert_eq!(first_flight(other), FirstFlight::Other);
    }
    assert_eq!(first_flight(b""), FirstFlight::More);
    assert_eq!(first_flight(&vec![22; MOST_BYTES]), FirstFlight::Other);
}

#[test]
fn what_is_too_long_is_given_up() {
    let endless = [&b"GET / HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(3000)].concat();
    assert_eq!(stream(&endless[..MOST_BYTES - 1]), Sniffed::More);
    assert_eq!(stream(&endless), Sniffed::Nothing);
    // A hello that says that it is of 16 MiB.
    assert_eq!(stream(&[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff]), Sniffed::Nothing);
}

#[test]
fn hosts_of_http() {
    for (text, wanted) in [
        ("GET / HTTP/1.1\r\nHost: Far.example\r\n\r\n", name("far.example")),
        ("GET / HTTP/1.1\nhost:far.example:8080\n\n", name("far.example")),
        ("POST /a HTTP/1.0\r\nAccept: */*\r\nHOST:\tfar.example. \r\n", name("far.example")),
        ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", Sniffed::Nothing),
        ("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", Sniffed::Nothing),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Sniffed::Nothing),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Sniffed::Nothing),
        ("GET / HTTP/1.0\r\n\r\nHost: far.example\r\n", Sniffed::Nothing),
        ("GET / RTSP/1.0\r\nHost: far.example\r\n", Sniffed::Nothing),
        ("GET / HTTP/1.1\r\nnonsense\r\nHost: far.example\r\n", Sniffed::Nothing),
        ("CONNECT far.example:443 HTTP/1.1\r\nHost: far.example\r\n", Sniffed::Nothing),
        ("SSH-2.0-OpenSSH\r\n", Sniffed::Nothing),
        ("GET / HTTP/1.1\r\nHost: far.exam", Sniffed::More),
        ("GE", Sniffed::More),
        ("", Sniffed::More),
    ] {
        comes_once(text.as_bytes(), &wanted);
    }
}

/// RFC 9001, A.2; RFC 9369, A.2 has the same frame.
const FRAME: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a\
    2b69484c00000413011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a000800060\
    01d0017001800100007000504616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf455\
    9fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050\
    806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff08011001048000\
    75300901100f088394c8f03e51570806048000ffff";

const CONNECTION: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().map(|it| (it as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A client's packet with this number and these frames, padded, as a client sends it.
fn initial(version: QuicVersion, number: u32, frames: &[u8], padded: usize) -> Vec<u8> {
    let (first, version_number) = match version {
        QuicVersion::One => (0xc3, 1u32),
        QuicVersion::Two => (0xd3, 0x6b33_43cf),
    };
    let mut payload = frames.to_vec();
    payload.resize(padded.max(frames.len()), 0);
    let length = u16::try_from(payload.len() + 4 + 16).unwrap() | 0x4000;
    let mut packet = vec![first];
    packet.extend(version_number.to_be_bytes());
    packet.push(8);
    packet.extend(CONNECTION);
    packet.extend([0, 0]);
    packet.extend(length.to_be_bytes());
    packet.extend(number.to_be_bytes());
    let keys = InitialKeys::of_client(version, &CONNECTION).unwrap();
    let tag = keys.seal(number.into(), &packet, &mut payload);
    let mask = keys.mask(*payload.first_chunk().unwrap());
    packet[0] ^= mask[0] & HIDDEN;
    packet[18..].iter_mut().zip(&mask[1..]).for_each(|(byte, mask)| *byte ^= mask);
    [packet, payload, tag.to_vec()].concat()
}

/// The keys are those of the RFCs: what is sealed with them are the packets that they print.
#[test]
fn published_packets_of_both_versions() {
    for (version, begin, end) in [
        (
            QuicVersion::One,
            "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
            "e221af44860018ab0856972e194cd934",
        ),
        (
            QuicVersion::Two,
            "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
            "a18b2faa745b6fe189cf772a9f84cbfc",
        ),
    ] {
        let packet = initial(version, 2, &bytes(FRAME), 1162);
        assert_eq!(packet.len(), 1200);
        assert!(packet.starts_with(&bytes(begin)) && packet.ends_with(&bytes(end)), "{version:?}");
        assert_eq!(QuicSniffer::default().datagram(&packet), name("example.com"), "{version:?}");
        for end in 0..packet.len() {
            let cut = QuicSniffer::default().datagram(&packet[..end]);
            assert_eq!(cut, Sniffed::Nothing, "no packet is whole");
        }
    }
}

fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    let number = |n: usize| (u32::try_from(n).unwrap() | 0x8000_0000).to_be_bytes();
    [&[6][..], &number(offset), &number(data.len()), data].concat()
}

/// A QUIC client's hello that needs three datagrams.
fn quic_hello() -> Vec<u8> {
    let config = Arc::new(client(12));
    let host = ServerName::try_from("www.far.example").unwrap();
    let mut connection = ClientConnection::new(config, Version::V1, host, vec![0; 40]).unwrap();
    let mut hello = Vec::new();
    assert!(connection.write_hs(&mut hello).is_none());
    assert!((2400..3000).contains(&hello.len()), "{}", hello.len());
    hello
}

/// What a client of www.far.example sends first: its hello in so many datagrams.
pub(crate) fn quic_datagrams(count: usize) -> Vec<Vec<u8>> {
    let config = Arc::new(client(0));
    let host = ServerName::try_from("www.far.example").unwrap();
    let mut connection = ClientConnection::new(config, Version::V1, host, vec![0; 40]).unwrap();
    let mut hello = Vec::new();
    assert!(connection.write_hs(&mut hello).is_none());
    let part = hello.len().div_ceil(count);
    let datagram = |(number, data)| {
        let frame = crypto(number * part, data);
        initial(QuicVersion::One, u32::try_from(number).unwrap(), &frame, 1162)
    };
    hello.chunks(part).enumerate().map(datagram).collect()
}

#[test]
fn a_hello_over_several_datagrams_in_any_order() {
    let hello = quic_hello();
    let part = hello.len().div_ceil(3);
    let parts: Vec<(usize, &[u8])> = (0..).step_by(part).zip(hello.chunks(part)).collect();
    assert_eq!(parts.len(), 3);
    let datagram = |number: usize| {
        let (offset, data) = parts[number];
        let (one, other) = data.split_at(data.len() / 3);
        // PING, an ACK of one range with ECN, and the second part first.
        let ack = [1, 3, 0, 0, 1, 0, 0, 0, 1, 1, 1];
        let frames = [&ack[..], &crypto(offset + one.len(), other), &[0, 0], &crypto(offset, one)];
        initial(QuicVersion::One, u32::try_from(number).unwrap(), &frames.concat(), 1162)
    };
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut sniffer = QuicSniffer::default();
        let [first, second, last] = order.map(datagram);
        assert_eq!(sniffer.datagram(&first), Sniffed::More);
        // Anyone may send what cannot be opened, and the client sends again.
        let mut damaged = last.clone();
        damaged[600] ^= 1;
        assert_eq!(sniffer.datagram(&damaged), Sniffed::More);
        assert_eq!(sniffer.datagram(&first), Sniffed::More);
        assert_eq!(sniffer.datagram(&second), Sniffed::More);
        assert_eq!(sniffer.datagram(&last), name("www.far.example"), "{order:?}");
        assert_eq!(sniffer.datagram(b"?"), name("www.far.example"));
    }
    // Several packets in one datagram.
    let short = |offset: usize, data: &[u8]| initial(QuicVersion::Two, 1, &crypto(offset, data), 0);
    let together = [short(0, &hello[..900]), short(900, &hello[900..])].concat();
    assert_eq!(QuicSniffer::default().datagram(&together), name("www.far.example"));
}

#[test]
fn a_flow_without_a_name_is_given_up() {
    let pieces = |count: usize| {
        let mut sniffer = QuicSniffer::default();
        let datagram = initial(QuicVersion::One, 0, &crypto(1, b"a"), 1162);
        (0..count).map(|_| sniffer.datagram(&datagram)).last().unwrap()
    };
    assert_eq!(pieces(MOST_DATAGRAMS - 1), Sniffed::More);
    assert_eq!(pieces(MOST_DATAGRAMS), Sniffed::Nothing);
    let once = |frames: &[u8]| {
        QuicSniffer::default().datagram(&initial(QuicVersion::One, 0, frames, 1162))
    };
    assert_eq!(once(&crypto(MOST_BYTES, b"a")), Sniffed::Nothing);
    assert_eq!(once(&[8]), Sniffed::Nothing, "no frame of an Initial packet");
    assert_eq!(once(&crypto(0, &[2])), Sniffed::Nothing, "no ClientHello");
    for other in [&b""[..], b"\x40short header", b"\xc0\xff\x00\x00\x1d\x08", b"\x17\xfe\xfd"] {
        assert_eq!(QuicSniffer::default().datagram(other), Sniffed::Nothing);
    }
}

/// What a parser says of a beginning holds for all that is longer.
fn holds(bytes: &[u8]) {
    let mut last = Sniffed::More;
    for end in 0..=bytes.len() {
        let sniffed = stream(&bytes[..end]);
        assert!(last == Sniffed::More || sniffed == last, "{last:?}, then {sniffed:?}");
        last = sniffed;
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        holds(&bytes);
        for begin in [&[22, 3, 1][..], b"GET / HTTP/1.1\r\nHost:"] {
            holds(&[begin, &bytes].concat());
        }
        let mut sniffer = QuicSniffer::default();
        sniffer.datagram(&bytes);
        sniffer.datagram(&[&[0xc0, 0, 0, 0, 1], &bytes[..]].concat());
        QuicSniffer::default().datagram(&initial(QuicVersion::One, 7, &bytes, 20));
    }

    #[test]
    fn a_damaged_hello(at in 0usize..300, by: u8) {
        let mut hello = hello("far.example", 0);
        let at = at % hello.len();
        hello[at] ^= by;
        holds(&hello);
    }
}
