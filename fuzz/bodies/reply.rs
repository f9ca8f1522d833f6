//! What an upstream server sends: judge it, keep it, send it on, to clients large and small.

use snet::dns::reply::{
    Believed, Clamp, HintFamilies, Reply, Side, Stored, Ttls, classify, classify_trusted,
    without_hints,
};
use snet::dns::wire::{Query, TCP_SIZE};
use snet::ipset::IpSet;
use std::time::Duration;

pub fn run(message: &[u8]) {
    let Some(reply) = Reply::parse(message) else { return };
    let none = IpSet::default();
    let _ = (classify(&reply, &none, &none, Believed::PublicOnly), classify_trusted(&reply));
    let _ = (reply.addresses(), reply.lifetime(), reply.is_negative());
    let of_v6 = HintFamilies { v4: false, v6: true };
    for families in [HintFamilies::ALL, of_v6] {
        if let Some(stripped) = without_hints(&reply, families) {
            let stripped = Reply::parse(&stripped).expect("what we write is sound");
            assert_eq!(without_hints(&stripped, families), None, "nothing is left");
            assert!(stripped.hints().len() <= reply.hints().len());
        }
    }
    let clamp = Clamp::new(Duration::ZERO, Duration::from_secs(86_400));
    let stored = Stored::new(&reply, Side::Trusted, clamp);
    // The question of the reply, asked.
    let mut asking = message[..12].to_vec();
    asking[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    asking.extend(&message[12..]);
    let Ok(query) = Query::parse(&asking) else { return };
    for limit in [512, 1232, TCP_SIZE] {
        let mut out = Vec::new();
        stored.write(&query, Ttls::Aged(3), None, limit, &mut out);
        assert!(out.len() <= limit);
        let sent = Reply::parse(&out).expect("what we send on is sound");
        assert!(sent.matches(&query, query.id));
        assert!(sent.is_whole() || sent.truncated(), "clients can read it");
    }
}
