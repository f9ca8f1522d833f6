//! The first bytes of a connection: what a beginning tells holds for all that is longer.

use snet::sniff::{MOST_DATAGRAMS, QuicSniffer, Sniffed, stream};

pub fn run(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(2000)];
    let mut last = Sniffed::More;
    for end in 0..=bytes.len() {
        let sniffed = stream(&bytes[..end]);
        assert!(last == Sniffed::More || sniffed == last, "{last:?}, then {sniffed:?}");
        last = sniffed;
    }
    let mut whole = QuicSniffer::default();
    whole.datagram(bytes);
    let mut sniffer = QuicSniffer::default();
    let pieces = bytes.chunks(bytes.len() / 3 + 1).chain([bytes; MOST_DATAGRAMS]);
    let last = pieces.map(|piece| sniffer.datagram(piece)).last();
    assert_ne!(last, Some(Sniffed::More), "it is given up");
}
