//! What cargo-fuzz runs for minutes (`fuzz/`), for a second: the corpus, and what a little damage
//! makes of it. The damage is the same in every run, so that a finding can be repeated.

#[path = "../fuzz/bodies/address.rs"]
mod address;
#[path = "../fuzz/bodies/cache.rs"]
mod cache;
#[path = "../fuzz/bodies/config.rs"]
mod config;
#[path = "../fuzz/bodies/datagram.rs"]
mod datagram;
#[path = "../fuzz/bodies/import.rs"]
mod import;
#[path = "../fuzz/bodies/link.rs"]
mod link;
#[path = "../fuzz/bodies/lists.rs"]
mod lists;
#[path = "../fuzz/bodies/netlink.rs"]
mod netlink;
#[path = "../fuzz/bodies/opener.rs"]
mod opener;
#[path = "../fuzz/bodies/query.rs"]
mod query;
#[path = "../fuzz/bodies/reply.rs"]
mod reply;
#[path = "../fuzz/bodies/response.rs"]
mod response;
#[path = "../fuzz/bodies/rules.rs"]
mod rules;
#[path = "../fuzz/bodies/session.rs"]
mod session;
#[path = "../fuzz/bodies/sniff.rs"]
mod sniff;
#[path = "../fuzz/bodies/socks.rs"]
mod socks;
#[path = "../fuzz/bodies/subscription.rs"]
mod subscription;

use std::fs;
use std::path::Path;

/// Damaged copies of each piece of the corpus.
const COPIES: u32 = 2_000;

#[test]
fn queries() {
    damaged("query", COPIES, query::run);
}

#[test]
fn replies() {
    damaged("reply", COPIES, reply::run);
}

#[test]
fn lists_of_names_and_prefixes() {
    damaged("lists", COPIES, lists::run);
}

#[test]
fn configurations() {
    // Each is written to a file.
    damaged("config", COPIES / 10, config::run);
}

#[test]
fn heads_of_http_responses() {
    damaged("response", COPIES, response::run);
}

#[test]
fn links_to_proxies() {
    damaged("link", COPIES, link::run);
}

#[test]
fn bodies_of_subscriptions() {
    damaged("subscription", COPIES / 4, subscription::run);
}

#[test]
fn files_of_other_programs() {
    damaged("import", COPIES / 20, import::run);
}

#[test]
fn first_bytes_of_a_connection() {
    damaged("sniff", COPIES, sniff::run);
}

#[test]
fn replies_and_datagrams_of_a_socks_server() {
    damaged("socks", COPIES, socks::run);
}

#[test]
fn bytes_of_a_shadowsocks_server() {
    damaged("opener", COPIES / 10, opener::run);
}

#[test]
fn datagrams_of_a_shadowsocks_server() {
    damaged("datagram", COPIES / 10, datagram::run);
}

#[test]
fn packets_of_a_shadowsocks_2022_server() {
    damaged("session", COPIES / 10, session::run);
}

#[test]
fn address_headers() {
    damaged("address", COPIES, address::run);
}

#[test]
fn files_of_the_cache() {
    damaged("cache", COPIES, cache::run);
}

#[test]
fn netlink_messages() {
    damaged("netlink", COPIES, netlink::run);
}

#[test]
fn rules_of_everybody() {
    damaged("rules", COPIES, rules::run);
}

fn damaged(target: &str, copies: u32, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut pieces: Vec<Vec<u8>> = fs::read_dir(&folder)
        .expect("the corpus is in the repository")
        .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file"))
        .collect();
    assert!(!pieces.is_empty(), "{}", folder.display());
    pieces.sort();
    let mut chance = Chance(0x5eed);
    for piece in &pieces {
        run(piece);
        for end in 0..piece.len().min(600) {
            run(&piece[..end]);
        }
        for _ in 0..copies {
            let other = &pieces[chance.below(pieces.len())];
            run(&damage(piece, other, &mut chance));
        }
    }
}

/// A few bytes flipped, set to extremes, doubled, cut out, or taken from another piece.
fn damage(piece: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = piece.to_vec();
    for _ in 0..=chance.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = chance.below(bytes.len());
        match chance.below(6) {
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => bytes[at] = [0, 1, 0x3f, 0x40, 0xc0, 0xff][chance.below(6)],
            2 => bytes.insert(at, bytes[at]),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            _ if other.is_empty() => {}
            _ => {
                let from = chance.below(other.len());
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

/// xorshift64 (Marsaglia, 2003).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("less than a usize")
    }
}
