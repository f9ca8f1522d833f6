//! What is sent of an answer that is too long for the client (RFC 2181, 9).
//!
//! Sections go from the end. A client needs neither additional records nor, with an answer, those
//! of the authority section: without them the answer is whole, and TC is not set. Only a negative
//! answer is nothing without its SOA record, and a validating client may need a proof that stands
//! there (RFC 4035, 3.1.3).
//!
//! Then records go from the end of the answer section, with TC set, so that the client comes again
//! over TCP, and one that cannot still has some addresses. Aliases come before what they lead to,
//! and nothing is put in another order. A chain of aliases of which no record is left that was
//! asked for goes as well: to a client that overlooks TC it would say that there are none.

use super::Reply;
use super::answer;

const NSEC: u16 = 47;
const NSEC3: u16 = 50;

/// The part of a message that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FittingPart {
    /// Where it ends.
    pub(super) end: usize,
    /// The records of its sections.
    pub(super) counts: [u16; 3],
    /// Something is missing that the client needs.
    pub(super) lacks_something: bool,
}

/// What of the message fits into `room` bytes, for a client that validates, or does not.
pub(super) fn fitting(message: &[u8], validates: bool, room: usize) -> FittingPart {
    let question_only = |end| FittingPart { end, counts: [0; 3], lacks_something: true };
    // It was read before.
    let Some(reply) = Reply::parse(message) else { return question_only(message.len().min(room)) };
    let [answers, authority, _] = reply.counts;
    if reply.ends[1] <= room {
        let counts = [answers, authority, 0];
        return FittingPart { end: reply.ends[1], counts, lacks_something: false };
    }
    if reply.ends[0] <= room {
        let lacks_something = reply.is_negative() || validates && has_proof(&reply);
        return FittingPart { end: reply.ends[0], counts: [answers, 0, 0], lacks_something };
    }
    let question_end = reply.name_end + 4;
    let (count, end) = answer::fitting(message, question_end, answers, room);
    let has_answer = |record: &super::Record<'_>| record.kind == reply.qtype();
    let counts = [count, 0, 0];
    match reply.section(0).take(count.into()).any(|record| has_answer(&record)) {
        true => FittingPart { end, counts, lacks_something: true },
        false => question_only(question_end),
    }
}

/// Whether the authority section proves something, as with an answer out of a wildcard.
fn has_proof(reply: &Reply<'_>) -> bool {
    reply.section(1).any(|record| matches!(record.kind, NSEC | NSEC3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::reply::sample::wire;
    use crate::dns::wire::{HEADER, rr};

    const CHAIN: &str = "www.example.com 60 CNAME a.example\na.example 60 CNAME b.example";

    fn addresses(owner: &str, count: u8) -> String {
        (0..count).map(|number| format!("\n{owner} 60 A 192.0.2.{number}")).collect()
    }

    /// The counts of what is left of these sections, and whether it is enough, one byte before the
    /// end of each part that could be sent.
    fn counts(
        rcode: u16,
        sections: [&str; 3],
        room: impl Fn(&Reply<'_>) -> usize,
    ) -> ([u16; 3], bool) {
        let message = wire(rr::A, rcode, sections);
        let reply = Reply::parse(&message).unwrap();
        let cut = fitting(&message, false, room(&reply));
        assert!(cut.end <= room(&reply));
        (cut.counts, cut.lacks_something)
    }

    #[test]
    fn the_authority_goes_before_an_answer() {
        let answers = addresses("www.example.com", 8);
        let sections = [answers.trim(), "example.com 90 SOA 80", "ns.example 60 A 192.0.2.9"];
        let at = |section: usize| move |reply: &Reply<'_>| reply.ends[section] - 1;
        assert_eq!(counts(0, sections, at(2)), ([8, 1, 0], false));
        assert_eq!(counts(0, sections, at(1)), ([8, 0, 0], false));
        assert_eq!(counts(0, sections, at(0)), ([7, 0, 0], true));
    }

    #[test]
    fn a_negative_answer_needs_its_authority() {
        let short = |reply: &Reply<'_>| reply.ends[1] - 1;
        let soa = "example.com 90 SOA 80";
        assert_eq!(counts(3, ["", soa, ""], short), ([0, 0, 0], true));
        let alias = "www.example.com 60 CNAME a.example";
        assert_eq!(counts(0, [alias, soa, ""], short), ([1, 0, 0], true), "NODATA");
    }

    #[test]
    fn a_chain_without_an_address_says_nothing() {
        let answers = format!("{CHAIN}{}", addresses("b.example", 3));
        let sections = [answers.as_str(), "", ""];
        let record = 16;
        let less = |records: usize| move |reply: &Reply<'_>| reply.ends[0] - records * record;
        assert_eq!(counts(0, sections, less(1)), ([4, 0, 0], true));
        assert_eq!(counts(0, sections, less(2)), ([3, 0, 0], true));
        assert_eq!(counts(0, sections, less(3)), ([0, 0, 0], true), "aliases only");
    }

    #[test]
    fn a_validating_client_needs_proofs() {
        let mut message =
            wire(rr::A, 0, ["www.example.com 60 A 192.0.2.1", "a.example 60 TXT x", ""]);
        let end = Reply::parse(&message).unwrap().ends;
        assert!(!fitting(&message, true, end[0]).lacks_something);
        // The type of the second record.
        let place = message.windows(4).rposition(|bytes| bytes == [0, 16, 0, 1]).unwrap();
        message[place..place + 2].copy_from_slice(&NSEC.to_be_bytes());
        assert!(place > HEADER && fitting(&message, true, end[0]).lacks_something);
        assert!(!fitting(&message, false, end[0]).lacks_something);
    }
}
