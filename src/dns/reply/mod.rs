//! Replies: reading an upstream's ([`Reply`]), judging it ([`classify`], [`classify_trusted`]),
//! keeping it in a form that can be sent on ([`Stored`]), and making our own ([`answer`]).

mod answer;
mod classify;
mod confined;
mod cut;
mod hints;
mod stored;

pub use answer::{
    Ede, UNTIL_RELOAD, addresses, blocked, error, minimal_any, nodata, nxdomain, pointers, refused,
    servfail, truncated,
};
pub use classify::{
    Believed, DomesticVerdict, TrustedVerdict, classify, classify_trusted, is_private,
};
pub use confined::confined;
pub use hints::{HintFamilies, without_hints};
pub use stored::{Clamp, Side, Stored, Ttls};

use super::wire::{CLASS_IN, HEADER, Query, Record, Records, WireName, flag, rcode, rr, u16_at};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A chain of aliases longer than this is not followed. Real ones have up to about ten links.
const LONGEST_CHAIN: usize = 24;

/// Records of the answer section that are looked at. No honest answer has so many; the time that a
/// hostile one takes is bounded.
const MOST_ANSWERS: usize = 512;

/// An upstream's reply, by reference to its bytes. All its records lie within the message.
#[derive(Debug)]
pub struct Reply<'a> {
    message: &'a [u8],
    id: u16,
    flags: u16,
    rcode: u16,
    is_whole: bool,
    /// The question's name ends, and its type begins, here.
    name_end: usize,
    /// Records in answer, authority and additional section, the last up to OPT or TSIG.
    counts: [u16; 3],
    /// Where these sections end.
    ends: [usize; 3],
}

impl<'a> Reply<'a> {
    /// Reads a message. `None` if it is no response to one question; over UDP such a message is no
    /// sign of anything and best ignored.
    ///
    /// What stands behind the question may not be readable: fewer records than promised, a name
    /// that leads nowhere. A truncated response may break off anywhere. Otherwise that is how this
    /// server fails, and the reply counts as one without records that says SERVFAIL, unless it says
    /// another error: old servers repeat the count of a record that they do not repeat.
    pub fn parse(message: &'a [u8]) -> Option<Reply<'a>> {
        let (id, flags) = (u16_at(message, 0)?, u16_at(message, 2)?);
        // Offsets of 16 bits are kept of what is stored.
        let fits = message.len() <= usize::from(u16::MAX);
        if !fits || flags & (flag::QR | flag::OPCODE) != flag::QR || u16_at(message, 4)? != 1 {
            return None;
        }
        let (name, name_end) = WireName::read(message, HEADER)?;
        // Without pointers: the question is later overwritten with the client's spelling.
        if name_end != HEADER + name.as_bytes().len() {
            return None;
        }
        let question_end = name_end + 4;
        message.get(..question_end)?;
        let mut reply = Reply {
            message,
            id,
            flags,
            rcode: flags & flag::RCODE,
            is_whole: true,
            name_end,
            counts: [u16_at(message, 6)?, u16_at(message, 8)?, u16_at(message, 10)?],
            ends: [question_end; 3],
        };
        if reply.read_sections(question_end).is_none() {
            (reply.counts, reply.ends) = ([0; 3], [question_end; 3]);
            if !reply.truncated() {
                reply.fail();
            }
        }
        Some(reply)
    }

    fn fail(&mut self) {
        self.is_whole = false;
        self.flags &= !flag::AD;
        if matches!(self.rcode, rcode::NOERROR | rcode::NXDOMAIN) {
            self.rcode = rcode::SERVFAIL;
        }
    }

    /// Walks over all records, once and for all.
    fn read_sections(&mut self, question_end: usize) -> Option<()> {
        let mut at = question_end;
        for section in 0..3 {
            let mut kept = None;
            let records = Records::new(self.message, at, self.counts[section]);
            for (number, record) in (0u16..).zip(records) {
                let record = record.filter(Record::is_sound)?;
                let signs_message = matches!(record.kind, rr::OPT | rr::TSIG);
                if signs_message {
                    // What concerns this hop only is cut off, with what may follow it: a record
                    // behind the cut may be the target of no pointer from before it.
                    if section != 2 {
                        return None;
                    }
                    if record.kind == rr::OPT {
                        self.rcode |= u16::from(record.raw_ttl.to_be_bytes()[0]) << 4;
                    }
                    kept = kept.or(Some((number, at)));
                }
                at = record.end();
            }
            let (count, end) = kept.unwrap_or((self.counts[section], at));
            self.counts[section] = count;
            self.ends[section] = end;
        }
        Some(())
    }

    /// The number it carries.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Whether it is the reply to the question sent with `id`: number, name (in any case), type
    /// and class. That it came from the server's address is for the socket to ensure.
    pub fn matches(&self, query: &Query, id: u16) -> bool {
        self.answers_to(query.question(), id)
    }

    /// The same of a question's bytes: name, type and class.
    pub fn answers_to(&self, question: &[u8], id: u16) -> bool {
        let Some((name, kind)) = question.split_last_chunk::<4>() else { return false };
        self.id == id
            && self.message[HEADER..self.name_end].eq_ignore_ascii_case(name)
            && self.message.get(self.name_end..self.name_end + 4) == Some(kind.as_slice())
    }

    /// Whether all its records could be read, see [`Reply::parse`].
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether it is truncated: ask again over TCP.
    pub fn truncated(&self) -> bool {
        self.flags & flag::TC != 0
    }

    /// The response code, with the upper bits of EDNS.
    pub fn rcode(&self) -> u16 {
        self.rcode
    }

    /// The type asked for.
    pub fn qtype(&self) -> u16 {
        u16_at(self.message, self.name_end).unwrap_or(0)
    }

    /// The addresses of the name asked for and of its aliases, as they stand in the answer
    /// section; of both families, whatever was asked.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let chain = self.chain();
        let on_chain = |record: &Record<'_>| {
            record
                .owner()
                .is_some_and(|owner| chain.iter().any(|name| name.as_bytes() == owner.as_bytes()))
        };
        self.answers()
            .filter_map(|record| Some((address(&record)?, record)))
            .filter(|(_, record)| on_chain(record))
            .map(|(address, _)| address)
            .collect()
    }

    /// Whether the name asked for is an alias of another one.
    pub fn has_alias(&self) -> bool {
        self.chain().len() > 1
    }

    /// The addresses in HTTPS and SVCB records (RFC 9460, 7.3), with which programs connect as with
    /// the others.
    pub fn hints(&self) -> Vec<IpAddr> {
        match self.qtype() {
            rr::HTTPS | rr::SVCB => hints::hints(self),
            _ => Vec::new(),
        }
    }

    /// Whether it has signatures (RFC 4034): the server speaks DNSSEC, and the name, or the zone
    /// that says there is none, is signed.
    pub fn is_signed(&self) -> bool {
        let has_signature = |mut records: Records<'_>| {
            records.any(|record| record.is_some_and(|record| record.kind == rr::RRSIG))
        };
        has_signature(self.records(0)) || has_signature(self.records(1))
    }

    /// For how many seconds the reply may be kept: the lowest TTL of the answer section, and of a
    /// negative answer also the lower of the SOA record's TTL and its minimum (RFC 2308, 5).
    /// `None` for what is not to be kept: errors, truncated replies, and negative answers without
    /// a SOA record.
    pub fn lifetime(&self) -> Option<u32> {
        if self.truncated() || !matches!(self.rcode, rcode::NOERROR | rcode::NXDOMAIN) {
            return None;
        }
        let lowest = self.answers().map(|record| record.ttl()).min();
        if !self.is_negative() {
            return lowest;
        }
        let negative = self.soa().and_then(|soa| Some(soa.ttl().min(soa.soa_minimum()?)))?;
        Some(lowest.unwrap_or(negative).min(negative))
    }

    /// Whether it says that there is no such name, or no such record (NODATA).
    pub fn is_negative(&self) -> bool {
        let asked = self.qtype();
        self.rcode == rcode::NXDOMAIN
            || !self.answers().any(|record| record.kind == asked || asked == rr::ANY)
    }

    /// Whether it says that there is no such name because there is no such top-level domain: the
    /// root says so.
    pub fn denies_top_level(&self) -> bool {
        let is_root = |soa: &Record<'_>| soa.is_at_root();
        self.rcode == rcode::NXDOMAIN && self.soa().is_some_and(|soa| is_root(&soa))
    }

    /// The name asked for and the names it is an alias of, in order.
    fn chain(&self) -> Vec<WireName> {
        let mut chain = Vec::new();
        let mut next = WireName::read(self.message, HEADER).map(|(name, _)| name);
        while let Some(name) = next {
            chain.push(name);
            if chain.len() >= LONGEST_CHAIN {
                break;
            }
            // Some servers do not send the aliases in order.
            next = self
                .answers()
                .filter(|record| record.kind == rr::CNAME)
                .find(|record| record.owner().is_some_and(|it| it.as_bytes() == name.as_bytes()))
                .and_then(|record| record.data_name());
        }
        chain
    }

    /// The SOA record of the authority section.
    fn soa(&self) -> Option<Record<'a>> {
        self.section(1).find(|record| record.kind == rr::SOA)
    }

    /// As many as matter.
    fn answers(&self) -> impl Iterator<Item = Record<'a>> {
        self.section(0).take(MOST_ANSWERS)
    }

    fn section(&self, number: usize) -> impl Iterator<Item = Record<'a>> + use<'a> {
        self.records(number).flatten()
    }

    fn records(&self, number: usize) -> Records<'a> {
        let begin = number.checked_sub(1).map_or(self.name_end + 4, |former| self.ends[former]);
        Records::new(self.message, begin, self.counts[number])
    }
}

/// The address in an A or AAAA record.
fn address(record: &Record<'_>) -> Option<IpAddr> {
    if record.class != CLASS_IN {
        return None;
    }
    match record.kind {
        rr::A => Some(Ipv4Addr::from(<[u8; 4]>::try_from(record.data()).ok()?).into()),
        rr::AAAA => Some(Ipv6Addr::from(<[u8; 16]>::try_from(record.data()).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod sample;
#[cfg(test)]
mod tests;
