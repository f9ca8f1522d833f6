//! What a client sends: read it, ask upstream with it, answer it.

use snet::dns::reply::{self, Reply};
use snet::dns::special::Special;
use snet::dns::wire::{Query, TCP_SIZE, upstream_query};

pub fn run(message: &[u8]) {
    let query = match Query::parse(message) {
        Ok(query) => query,
        Err(malformed) => {
            let mut answer = Vec::new();
            if malformed.write_answer(&mut answer) {
                assert_eq!(answer[..2], message[..2], "the id is echoed");
                assert!(answer.len() <= message.len() + 12, "it amplifies nothing");
            }
            return;
        }
    };
    let _ = Special::of(query.name());
    let asked = Query::parse(&upstream_query(&query, 7)).expect("our own queries are sound");
    assert_eq!((asked.name(), asked.qtype()), (query.name(), query.qtype()));
    for answer in [
        reply::servfail(&query, None),
        reply::minimal_any(&query),
        reply::nxdomain(&query, None, 60),
    ] {
        assert!(answer.len() <= TCP_SIZE);
        let answer = Reply::parse(&answer).expect("our own answers are sound");
        assert!(answer.matches(&query, query.id) && answer.is_whole());
    }
}
