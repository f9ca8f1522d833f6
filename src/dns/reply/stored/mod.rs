//! An upstream's reply, made ready to be sent to any client that asks the same.
//!
//! Kept are the bytes of the upstream: compression, order of records, CNAME chain, authority and
//! response code survive. What concerned the hop to the upstream (OPT, TSIG) is gone; TTLs are
//! clamped. On the way out the header, the spelling of the question, the TTLs and our own OPT are
//! written anew, into the caller's buffer, without an allocation.

use super::Reply;
use super::answer::{Ede, close, opt_size};
use super::cut::fitting;
use crate::dns::wire::{HEADER, Query, flag, rcode};
use std::net::IpAddr;
use std::time::Duration;

/// No negative answer is kept longer (RFC 2308, 5: one to three hours work well).
const LONGEST_NEGATIVE: u32 = 3 * 3600;

/// `dns.min-ttl` and `dns.max-ttl`.
#[derive(Clone, Copy, Debug)]
pub struct Clamp {
    min: u32,
    max: u32,
}

impl Clamp {
    /// Whole seconds count.
    pub fn new(min: Duration, max: Duration) -> Self {
        // Above 2^31 - 1 a TTL would count as 0 (RFC 2181, 8).
        let seconds =
            |ttl: Duration| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX) & 0x7fff_ffff;
        let (min, max) = (seconds(min), seconds(max));
        Clamp { min: min.min(max), max }
    }

    fn apply(self, ttl: u32) -> u32 {
        ttl.clamp(self.min, self.max)
    }
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// A domestic server, over open UDP: its AD bit proves nothing and is cleared.
    Domestic,
    /// A trusted or local server, whose AD bit is passed on.
    Trusted,
}

/// How TTLs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttls {
    /// Counted down by so many seconds.
    Aged(u32),
    /// As they were, but at most so many seconds: stale or doubtful answers.
    AtMost(u32),
}

impl Ttls {
    fn apply(self, ttl: u32) -> u32 {
        match self {
            Ttls::Aged(age) => ttl.saturating_sub(age),
            Ttls::AtMost(most) => ttl.min(most),
        }
    }
}

/// Whether no name stands on a TTL: those count down, and a compression pointer to one would lead
/// to another name each second, or to none. No honest server writes such a message.
fn is_readable_at_any_age(message: &[u8], ttls: &[u16]) -> bool {
    // A pointer to nowhere, from wherever it is read.
    let mut poisoned = message.to_vec();
    for at in ttls {
        if let Some(ttl) = poisoned.get_mut(usize::from(*at)..).and_then(|rest| rest.get_mut(..4)) {
            ttl.fill(0xff);
        }
    }
    Reply::parse(&poisoned).is_some_and(|reply| reply.is_whole())
}

/// A reply ready to be sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The message up to the end of the additional section. Id, flags and question are the
    /// upstream's and always written over.
    message: Box<[u8]>,
    /// Where the TTLs stand.
    ttls: Box<[u16]>,
    rcode: u16,
    side: Side,
    authentic: bool,
    truncated: bool,
    /// Some address in the answer section is of another name than those asked for.
    has_strangers: bool,
    lifetime: u32,
}

impl Stored {
    /// Takes a reply over.
    pub fn new(reply: &Reply<'_>, side: Side, clamp: Clamp) -> Self {
        let mut message: Box<[u8]> = reply.message[..reply.ends[2]].into();
        for (place, count) in message[6..HEADER].chunks_exact_mut(2).zip(reply.counts) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        let negative = reply.is_negative();
        let lifetime = reply.lifetime().map(|ttl| clamp.apply(ttl));
        let lifetime =
            if negative { lifetime.map(|ttl| ttl.min(LONGEST_NEGATIVE)) } else { lifetime };
        let soa = reply.soa().map(|record| record.ttl_offset());
        let mut ttls = Vec::new();
        for record in (0..3).flat_map(|number| reply.section(number)) {
            let at = record.ttl_offset();
            // The SOA record of a negative answer says how long that may be kept (RFC 2308, 5).
            let ttl = match lifetime {
                Some(lifetime) if negative && soa == Some(at) => lifetime,
                _ => clamp.apply(record.ttl()),
            };
            rewrite(&mut message, at, |_| ttl);
            // Offsets fit: the message has at most 65,535 bytes.
            ttls.extend(u16::try_from(at));
        }
        if !is_readable_at_any_age(&message, &ttls) {
            return Self::failure(reply, side);
        }
        let mut stored = Stored {
            message,
            ttls: ttls.into(),
            rcode: reply.rcode,
            side,
            authentic: side == Side::Trusted && reply.flags & flag::AD != 0,
            truncated: reply.truncated(),
            has_strangers: false,
            lifetime: lifetime.unwrap_or(0),
        };
        stored.has_strangers = stored.records_of_addresses().count() != reply.addresses().len();
        stored
    }

    /// SERVFAIL, and nothing of what the reply says.
    fn failure(reply: &Reply<'_>, side: Side) -> Self {
        let mut message: Box<[u8]> = reply.message[..reply.name_end + 4].into();
        message[6..HEADER].fill(0);
        Stored {
            message,
            ttls: Box::default(),
            rcode: rcode::SERVFAIL,
            side,
            authentic: false,
            truncated: false,
            has_strangers: false,
            lifetime: 0,
        }
    }

    /// The same with TTLs, and a lifetime, of at most so many seconds.
    #[must_use]
    pub fn capped(mut self, most: u32) -> Self {
        for at in &self.ttls {
            rewrite(&mut self.message, usize::from(*at), |ttl| ttl.min(most));
        }
        self.lifetime = self.lifetime.min(most);
        self
    }

    /// The addresses in it, see [`Reply::addresses`].
    pub fn addresses(&self) -> Vec<IpAddr> {
        if !self.has_strangers {
            return self.records_of_addresses().collect();
        }
        Reply::parse(&self.message).map(|reply| reply.addresses()).unwrap_or_default()
    }

    /// The addresses that programs connect to because of it: those, and [`Reply::hints`].
    pub fn destinations(&self) -> Vec<IpAddr> {
        let Some(reply) = Reply::parse(&self.message) else { return Vec::new() };
        let mut found = reply.addresses();
        found.extend(reply.hints());
        found
    }

    /// The addresses in the answer section, of whatever owner: what [`Stored::addresses`] gives and
    /// perhaps more, read without an allocation.
    pub fn records_of_addresses(&self) -> impl Iterator<Item = IpAddr> {
        const A: [u8; 4] = [0, 1, 0, 1];
        const AAAA: [u8; 4] = [0, 28, 0, 1];
        let answers = self
            .message
            .get(6..8)
            .map_or(0, |count| usize::from(u16::from_be_bytes([count[0], count[1]])));
        // Type and class stand before the TTL, the length and the data behind it.
        self.ttls.iter().take(answers).filter_map(|at| {
            let at = usize::from(*at);
            let (kind, data) = (self.message.get(at - 4..at)?, self.message.get(at + 6..)?);
            if kind == A {
                data.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes))
            } else if kind == AAAA {
                data.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes))
            } else {
                None
            }
        })
    }

    /// See [`Reply::is_signed`].
    pub fn is_signed(&self) -> bool {
        Reply::parse(&self.message).is_some_and(|reply| reply.is_signed())
    }

    /// For how many seconds it may be served; 0 if it is not to be kept.
    pub fn lifetime(&self) -> u32 {
        self.lifetime
    }

    /// The response code.
    pub fn rcode(&self) -> u16 {
        self.rcode
    }

    /// See [`Reply::denies_top_level`].
    pub fn denies_top_level(&self) -> bool {
        Reply::parse(&self.message).is_some_and(|reply| reply.denies_top_level())
    }

    /// The message, which [`Reply::parse`] reads; TTLs are those of its beginning.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Who said it.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The bytes of heap it takes.
    pub fn size(&self) -> usize {
        self.message.len() + self.ttls.len() * size_of::<u16>()
    }

    /// Appends the message for a client to `out`: at most `limit` bytes, see
    /// [`Query::udp_limit`] and [`TCP_SIZE`](crate::dns::wire::TCP_SIZE); what does not fit goes,
    /// see [`fitting`]. `query` has to ask the question that was asked upstream.
    pub fn write(
        &self,
        query: &Query,
        ttls: Ttls,
        ede: Option<Ede>,
        limit: usize,
        out: &mut Vec<u8>,
    ) {
        let begin = out.len();
        let name_end = HEADER + query.asked().len();
        let whole = self.message.len();
        // Before anything else goes the extended error (RFC 8914, 3).
        let ede = ede.filter(|_| whole + opt_size(query, ede) <= limit);
        let room = limit.saturating_sub(opt_size(query, ede));
        let cut = (whole > room).then(|| fitting(&self.message, query.dnssec_ok(), room));
        let end = cut.map_or(whole, |cut| cut.end);
        out.extend_from_slice(self.message.get(..end).unwrap_or(&self.message));
        let message = &mut out[begin..];
        let mut flags = query.reply_flags();
        let truncated = self.truncated || cut.is_some_and(|cut| cut.lacks_something);
        if truncated {
            flags |= flag::TC;
        }
        if self.authentic && query.wants_ad() && !truncated {
            flags |= flag::AD;
        }
        message[..2].copy_from_slice(&query.id.to_be_bytes());
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        if let Some(cut) = cut {
            for (place, count) in message[6..HEADER].chunks_exact_mut(2).zip(cut.counts) {
                place.copy_from_slice(&count.to_be_bytes());
            }
        }
        if let Some(question) = message.get_mut(HEADER..name_end) {
            question.copy_from_slice(query.asked());
        }
        for at in self.ttls.iter().map(|at| usize::from(*at)).take_while(|at| *at < end) {
            rewrite(message, at, |ttl| ttls.apply(ttl));
        }
        let rcode = if self.rcode > flag::RCODE && query.edns.is_none() {
            rcode::SERVFAIL
        } else {
            self.rcode
        };
        close(query, rcode, ede, begin, out);
    }
}

fn rewrite(message: &mut [u8], at: usize, change: impl FnOnce(u32) -> u32) {
    if let Some(place) = message.get_mut(at..at + 4)
        && let Ok(bytes) = <[u8; 4]>::try_from(&*place)
    {
        place.copy_from_slice(&change(u32::from_be_bytes(bytes)).to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
