//! Answers of our own making.
//!
//! Negative ones carry an SOA record, without which no cache behind us keeps them (RFC 2308, 5). It
//! looks like that of the empty zones which resolvers serve by themselves (RFC 6303, 3). It stands
//! at the name that has no such record, of which it says the least. A name that does not exist can
//! have none, and dnsmasq (2.90) keeps neither then: it stands one label above.

use crate::dns::wire::{
    CLASS_IN, HEADER, MalformedQuery, Query, Records, flag, option, put_opt, rcode, reply_flags,
    rr, u16_at,
};
use crate::domain::Name;
use std::fmt;
use std::net::IpAddr;

/// The option that carries an extended error (RFC 8914).
const OPTION_EDE: u16 = 15;

/// How long, in seconds, others may keep what the operator's settings say: a reload should soon be
/// noticed.
pub const UNTIL_RELOAD: u32 = 30;

/// The mailbox of an SOA record that has none: `nobody.invalid`.
const NO_MAILBOX: &[u8] = b"\x06nobody\x07invalid\x00";

/// An extended DNS error (RFC 8914): why an answer is what it is. It reaches clients that speak
/// EDNS, and people who use dig.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ede {
    /// The registered code.
    pub code: u16,
    /// In words; may be empty.
    pub text: &'static str,
}

impl Ede {
    /// The answer is older than its TTL.
    pub const STALE: Ede = Ede { code: 3, text: "" };
    /// A list of the operator blocks the name.
    pub const BLOCKED: Ede = Ede { code: 15, text: "blocked by rules.block" };
    /// The operator does not want this type of record.
    pub const FILTERED: Ede = Ede { code: 17, text: "filtered by configuration" };
    /// Answering would ask ourselves.
    pub const LOOP: Ede = Ede { code: 0, text: "a loop: the question is our own" };
    /// No server that could know answered.
    pub const UNREACHABLE: u16 = 22;

    /// "No reachable authority", in words.
    pub const fn unreachable(text: &'static str) -> Ede {
        Ede { code: Ede::UNREACHABLE, text }
    }
}

impl fmt::Display for Ede {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ede { code, text } = self;
        match text.is_empty() {
            true => write!(f, "EDE {code}"),
            false => write!(f, "{text} (EDE {code})"),
        }
    }
}

/// There are no such records, but the name may have others. `ttl` in seconds.
pub fn nodata(query: &Query, ede: Option<Ede>, ttl: u32) -> Vec<u8> {
    negative(query, rcode::NOERROR, ede, ttl)
}

/// There is no such name. `ttl` in seconds.
pub fn nxdomain(query: &Query, ede: Option<Ede>, ttl: u32) -> Vec<u8> {
    negative(query, rcode::NXDOMAIN, ede, ttl)
}

fn negative(query: &Query, rcode: u16, ede: Option<Ede>, ttl: u32) -> Vec<u8> {
    let mut out = open(query);
    let first_label = query.asked().first().map_or(0, |length| u16::from(*length));
    let owner = match rcode {
        rcode::NXDOMAIN if first_label > 0 => ASKED + 1 + first_label,
        _ => ASKED,
    };
    put_soa(&mut out, owner, ttl);
    finish(query, rcode, ede, out)
}

/// The answer could not be found.
pub fn servfail(query: &Query, ede: Option<Ede>) -> Vec<u8> {
    error(query, rcode::SERVFAIL, ede)
}

/// We do not answer that.
pub fn refused(query: &Query, ede: Option<Ede>) -> Vec<u8> {
    error(query, rcode::REFUSED, ede)
}

/// Come again over TCP.
pub fn truncated(query: &Query) -> Vec<u8> {
    let mut out = open(query);
    out[2..4].copy_from_slice(&(query.reply_flags() | flag::TC).to_be_bytes());
    finish(query, rcode::NOERROR, None, out)
}

/// The answer for a name that the operator blocks: no such name. An address like 0.0.0.0 would
/// make programs connect to this machine.
pub fn blocked(query: &Query) -> Vec<u8> {
    nxdomain(query, Some(Ede::BLOCKED), UNTIL_RELOAD)
}

impl MalformedQuery {
    /// Appends the message to send back to `out`; false if there is none.
    pub fn write_answer(&self, out: &mut Vec<u8>) -> bool {
        let MalformedQuery::Answer { id, flags, rcode, query } = self else { return false };
        if let Some(query) = query {
            out.extend(error(query, *rcode, None));
            return true;
        }
        out.extend(id.to_be_bytes());
        out.extend((reply_flags(*flags) | rcode & flag::RCODE).to_be_bytes());
        out.extend([0; 8]);
        true
    }
}

/// An answer without records.
pub fn error(query: &Query, rcode: u16, ede: Option<Ede>) -> Vec<u8> {
    finish(query, rcode, ede, open(query))
}

/// Those of the addresses that are of the type asked for; NODATA if none is. `ttl` in seconds;
/// `limit` as for [`Stored::write`](super::Stored::write).
pub fn addresses(query: &Query, addresses: &[IpAddr], ttl: u32, limit: usize) -> Vec<u8> {
    let mut out = open(query);
    for address in addresses {
        match (query.qtype(), address) {
            (rr::A, IpAddr::V4(v4)) => put_answer(&mut out, rr::A, ttl, &v4.octets()),
            (rr::AAAA, IpAddr::V6(v6)) => put_answer(&mut out, rr::AAAA, ttl, &v6.octets()),
            _ => {}
        }
    }
    if count(&out, ANSWERS) == 0 {
        return nodata(query, None, ttl);
    }
    bounded(query, out, limit)
}

/// Names for a reverse look-up. `ttl` and `limit` as above.
pub fn pointers<'a>(
    query: &Query,
    names: impl IntoIterator<Item = &'a Name>,
    ttl: u32,
    limit: usize,
) -> Vec<u8> {
    let mut out = open(query);
    for name in names {
        put_answer(&mut out, rr::PTR, ttl, name.as_wire());
    }
    bounded(query, out, limit)
}

/// The answer to ANY (RFC 8482, 4.2): one record that says there are no more.
pub fn minimal_any(query: &Query) -> Vec<u8> {
    let mut out = open(query);
    put_answer(&mut out, rr::HINFO, 3600, b"\x07RFC8482\x00");
    finish(query, rcode::NOERROR, None, out)
}

/// Header and question; the flags come last.
fn open(query: &Query) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + query.asked().len() + 4 + 64);
    out.extend(query.id.to_be_bytes());
    out.extend(query.reply_flags().to_be_bytes());
    out.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend(query.asked());
    out.extend(query.qtype().to_be_bytes());
    out.extend(query.qclass().to_be_bytes());
    out
}

/// Where the header has the numbers of records.
const ANSWERS: usize = 6;
const AUTHORITY: usize = 8;

/// A pointer to the name asked for.
const ASKED: u16 = 0xc000 | 12;

fn put_answer(out: &mut Vec<u8>, kind: u16, ttl: u32, data: &[u8]) {
    put_record(out, ANSWERS, ASKED, kind, ttl, data);
}

/// Says for how many seconds the negative answer may be kept.
fn put_soa(out: &mut Vec<u8>, owner: u16, ttl: u32) {
    let numbers = [1, 3600, 1200, 604_800, ttl].map(u32::to_be_bytes);
    let data = [&owner.to_be_bytes(), NO_MAILBOX, numbers.as_flattened()].concat();
    put_record(out, AUTHORITY, owner, rr::SOA, ttl, &data);
}

fn count(out: &[u8], section: usize) -> u16 {
    u16_at(out, section).unwrap_or(0)
}

/// A record of the name that `owner` points to.
fn put_record(out: &mut Vec<u8>, section: usize, owner: u16, kind: u16, ttl: u32, data: &[u8]) {
    let count = count(out, section).checked_add(1);
    let (Some(count), Ok(length)) = (count, u16::try_from(data.len())) else { return };
    out[section..section + 2].copy_from_slice(&count.to_be_bytes());
    out.extend(owner.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    out.extend(ttl.to_be_bytes());
    out.extend(length.to_be_bytes());
    out.extend(data);
}

/// Cuts the answers that are too many for the client, and says so.
fn bounded(query: &Query, mut out: Vec<u8>, limit: usize) -> Vec<u8> {
    let room = limit.saturating_sub(opt_size(query, None));
    if out.len() > room {
        let question_end = HEADER + query.asked().len() + 4;
        let (kept, end) = fitting(&out, question_end, count(&out, ANSWERS), room);
        out.truncate(end);
        out[ANSWERS..ANSWERS + 2].copy_from_slice(&kept.to_be_bytes());
        out[2..4].copy_from_slice(&(query.reply_flags() | flag::TC).to_be_bytes());
    }
    finish(query, rcode::NOERROR, None, out)
}

/// How many of the `count` records from `begin` on end within `room`, and where.
pub(super) fn fitting(message: &[u8], begin: usize, count: u16, room: usize) -> (u16, usize) {
    let records = Records::new(message, begin, count).flatten();
    let fits = records.map(|record| record.end()).take_while(|end| *end <= room);
    (1..).zip(fits).last().unwrap_or((0, begin))
}

fn finish(query: &Query, rcode: u16, ede: Option<Ede>, mut out: Vec<u8>) -> Vec<u8> {
    close(query, rcode, ede, 0, &mut out);
    out
}

/// Puts the response code into the message that begins at `begin`, and behind it our OPT record
/// if the client sent one.
pub(super) fn close(query: &Query, rcode: u16, ede: Option<Ede>, begin: usize, out: &mut Vec<u8>) {
    let [_, low] = rcode.to_be_bytes();
    if let Some(place) = out.get_mut(begin + 3) {
        *place = *place & 0xf0 | low & 0x0f;
    }
    if query.edns.is_none() {
        return;
    }
    if let Some(message) = out.get_mut(begin..)
        && let Some(place) = message.get_mut(10..HEADER)
    {
        let count = u16::from_be_bytes([place[0], place[1]]);
        place.copy_from_slice(&count.saturating_add(1).to_be_bytes());
    }
    let extended = u8::try_from(rcode >> 4).unwrap_or(0);
    let ede =
        ede.map(|ede| option(OPTION_EDE, &[&ede.code.to_be_bytes(), ede.text.as_bytes()].concat()));
    put_opt(out, extended, query.dnssec_ok(), &ede.unwrap_or_default());
}

/// The length of our OPT record.
pub(super) fn opt_size(query: &Query, ede: Option<Ede>) -> usize {
    match (query.edns, ede) {
        (None, _) => 0,
        (Some(_), None) => 11,
        (Some(_), Some(ede)) => 11 + 6 + ede.text.len(),
    }
}
