//! Queries: what a client asks, and what we ask upstream.

mod bytes;

use super::reader::{Records, u16_at};
use super::{CLASS_IN, HEADER, PLAIN_UDP_SIZE, UDP_SIZE, flag, rcode, rr};
use crate::domain::Name;
use bytes::QuestionBytes;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Type, class and one byte of flags follow the name in the key,
const FLAGS_END: usize = 5;

/// and address, port and link of who alone is asked.
const SERVER: usize = 22;

/// The option that carries a client subnet (RFC 7871).
const OPTION_SUBNET: u16 = 8;

/// The bit of the OPT record's flags that asks for DNSSEC records (RFC 3225).
const DNSSEC_OK: u32 = 0x8000;

/// A client's query: one question, and how it was asked. It owns its bytes, without allocation
/// unless the name is longer than 50 of them.
#[derive(Clone)]
pub struct Query {
    /// The client's number; the reply echoes it.
    pub id: u16,
    /// The header's second word.
    flags: u16,
    /// The client's EDNS, if it sent one.
    pub edns: Option<Edns>,
    /// The operator's wish for whom to ask upstream; nothing of the client's.
    subnet: Option<IpNet>,
    /// It is asked upstream without EDNS; nothing of the client's.
    omits_edns: bool,
    /// The only name server it is for, see [`Query::at`].
    server: Option<SocketAddr>,
    /// The name as asked (some clients vary the case and want it back), and the key: the name in
    /// lower case, the type, the class, DO, CD and RD, and the server.
    bytes: QuestionBytes,
    /// Of the name: at least 1, at most 255.
    length: u8,
}

/// What of the client's OPT record (RFC 6891) matters. Options do not: client subnets go nowhere,
/// padding belongs to encrypted transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP message the client can take, at least 512.
    pub udp_size: u16,
    /// DO: send DNSSEC records.
    pub dnssec_ok: bool,
}

impl Query {
    /// Reads a client's message.
    ///
    /// # Errors
    /// What is no query that this resolver answers, and what to say instead.
    pub fn parse(message: &[u8]) -> Result<Query, MalformedQuery> {
        let (Some(id), Some(flags), Some(questions)) =
            (u16_at(message, 0), u16_at(message, 2), u16_at(message, 4))
        else {
            return Err(MalformedQuery::Silence);
        };
        if message.len() < HEADER || flags & flag::QR != 0 {
            return Err(MalformedQuery::Silence);
        }
        let bare = |rcode| MalformedQuery::Answer { id, flags, rcode, query: None };
        if flags & flag::OPCODE != 0 {
            return Err(bare(rcode::NOTIMP));
        }
        if questions != 1 {
            // RFC 9619: exactly one.
            return Err(bare(rcode::FORMERR));
        }
        let (mut query, end) =
            Query::read_question(message, id, flags).ok_or(bare(rcode::FORMERR))?;
        let version = query.read_edns(message, end).ok_or(bare(rcode::FORMERR))?;
        query.set_key_flags();
        if version > 0 {
            return Err(query.into_malformed(rcode::BADVERS));
        }
        match (query.qclass(), query.qtype()) {
            (_, rr::OPT) => Err(query.into_malformed(rcode::FORMERR)),
            // Zone transfers and the like (249 to 254) are for others.
            (CLASS_IN, 249..=254) => Err(query.into_malformed(rcode::REFUSED)),
            (CLASS_IN, _) => Ok(query),
            // CH TXT version.bind and its like.
            _ => Err(query.into_malformed(rcode::REFUSED)),
        }
    }

    /// A question of our own, with recursion desired, for [`upstream_query`] and to compare
    /// replies with.
    pub fn new(name: &Name, qtype: u16) -> Query {
        let mut query = Query::about(0, flag::RD, name);
        query.set_question(qtype, CLASS_IN);
        query.set_key_flags();
        query
    }

    /// The same name asked for another type, with the same id and flags: for an HTTPS query, the
    /// A query whose verdict it follows.
    pub fn with_type(&self, qtype: u16) -> Query {
        let mut query = self.clone();
        query.set_question(qtype, CLASS_IN);
        query.set_key_flags();
        query
    }

    /// The same question, asked upstream on behalf of a subnet.
    pub fn for_subnet(&self, subnet: IpNet) -> Query {
        Query { subnet: Some(subnet), ..self.clone() }
    }

    /// The same question, asked upstream without EDNS.
    pub fn without_edns(&self) -> Query {
        Query { omits_edns: true, ..self.clone() }
    }

    /// Whether it is asked upstream without EDNS.
    pub fn omits_edns(&self) -> bool {
        self.omits_edns
    }

    /// The same question for this name server alone: its answer is kept apart from that of all
    /// others.
    pub fn at(&self, server: SocketAddr) -> Query {
        let mut query = Query { server: Some(server), ..self.clone() };
        query.set_key_server();
        query
    }

    /// The only name server it is for, if it is.
    pub fn server(&self) -> Option<SocketAddr> {
        self.server
    }

    /// The same question about another name, asked of the same servers.
    pub fn with_name(&self, name: &Name) -> Query {
        let Query { edns, subnet, omits_edns, server, .. } = *self;
        let named = Query::about(self.id, self.flags, name);
        let mut query = Query { edns, subnet, omits_edns, server, ..named };
        query.set_question(self.qtype(), self.qclass());
        query.set_key_flags();
        query
    }

    /// The name in lower-case wire form.
    pub fn name(&self) -> &[u8] {
        &self.whole_key()[..self.name_length()]
    }

    /// The name as a value of its own, for maps and logs.
    pub fn to_name(&self) -> Option<Name> {
        Name::from_wire(self.name())
    }

    /// The name in wire form, in the case it was asked in.
    pub fn asked(&self) -> &[u8] {
        &self.bytes[..self.name_length()]
    }

    /// The type of record asked for.
    pub fn qtype(&self) -> u16 {
        self.number_behind_name(0)
    }

    /// The class; [`CLASS_IN`] unless the query is malformed.
    pub fn qclass(&self) -> u16 {
        self.number_behind_name(2)
    }

    fn number_behind_name(&self, at: usize) -> u16 {
        u16_at(self.whole_key(), self.name_length() + at).unwrap_or(0)
    }

    /// Name, type and class, as a question stands in a message, in lower case.
    pub fn question(&self) -> &[u8] {
        &self.whole_key()[..self.name_length() + 4]
    }

    /// What tells queries with different answers apart: lower-case name, type, class, DO, CD, and
    /// RD, since an upstream may refuse or leave empty what it is not to recurse for; and the
    /// server that alone is asked.
    pub fn key(&self) -> &[u8] {
        let server = if self.server.is_some() { SERVER } else { 0 };
        &self.whole_key()[..self.name_length() + FLAGS_END + server]
    }

    /// The key, and the room behind it.
    fn whole_key(&self) -> &[u8] {
        &self.bytes[self.name_length()..]
    }

    fn whole_key_mut(&mut self) -> &mut [u8] {
        let begin = self.name_length();
        &mut self.bytes[begin..]
    }

    /// Whether DNSSEC records are wanted.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// Whether the client understands the AD bit: it sent it, or DO (RFC 6840, 5.7).
    pub fn wants_ad(&self) -> bool {
        self.flags & flag::AD != 0 || self.dnssec_ok()
    }

    /// The largest answer the client takes over UDP.
    pub fn udp_limit(&self) -> usize {
        usize::from(self.edns.map_or(PLAIN_UDP_SIZE, |edns| edns.udp_size.min(UDP_SIZE)))
    }

    /// The flags of every reply: response, recursion available, RD and CD as asked.
    pub(in crate::dns) fn reply_flags(&self) -> u16 {
        reply_flags(self.flags)
    }

    fn name_length(&self) -> usize {
        usize::from(self.length)
    }

    fn about(id: u16, flags: u16, name: &Name) -> Query {
        // A `Name` has 1 to 255 bytes.
        let length = u8::try_from(name.as_wire().len()).unwrap_or(u8::MAX);
        Query::with_asked(id, flags, name.as_wire(), length)
    }

    /// Without its question; the name has that length.
    fn with_asked(id: u16, flags: u16, asked: &[u8], length: u8) -> Query {
        let mut bytes = QuestionBytes::new(2 * asked.len() + FLAGS_END + SERVER);
        bytes[..asked.len()].copy_from_slice(asked);
        let (edns, subnet, server) = (None, None, None);
        Query { id, flags, edns, subnet, omits_edns: false, server, bytes, length }
    }

    /// The question, and where it ends. Nothing stands in front of its name that a compression
    /// pointer could mean, so there is none.
    fn read_question(message: &[u8], id: u16, flags: u16) -> Option<(Query, usize)> {
        let mut at = HEADER;
        loop {
            match *message.get(at)? {
                0 => break,
                length @ 1..=63 => at += 1 + usize::from(length),
                _ => return None,
            }
        }
        let name = message.get(HEADER..=at)?;
        // At most 255.
        let length = u8::try_from(name.len()).ok()?;
        let mut query = Query::with_asked(id, flags, name, length);
        query.set_question(u16_at(message, at + 1)?, u16_at(message, at + 3)?);
        Some((query, at + 5))
    }

    /// Reads past the other records for the OPT record. Returns the EDNS version, 0 without EDNS.
    fn read_edns(&mut self, message: &[u8], question_end: usize) -> Option<u8> {
        let (answers, authority, additional) =
            (u16_at(message, 6)?, u16_at(message, 8)?, u16_at(message, 10)?);
        // Nearly always 0, 0 and 1 or 0. A sum that overflows cannot fit into a message.
        let count = answers.checked_add(authority)?.checked_add(additional)?;
        let mut version = 0;
        for record in Records::new(message, question_end, count) {
            let record = record?;
            if record.kind != rr::OPT {
                continue;
            }
            // RFC 6891, 6.1.1: one, at the root.
            if self.edns.is_some() || !record.is_at_root() {
                return None;
            }
            self.edns = Some(Edns {
                udp_size: record.class.max(PLAIN_UDP_SIZE),
                dnssec_ok: record.raw_ttl & DNSSEC_OK != 0,
            });
            version = record.raw_ttl.to_be_bytes()[1];
        }
        Some(version)
    }

    /// Fills the key up to the class from the name as asked.
    fn set_question(&mut self, qtype: u16, qclass: u16) {
        let length = self.name_length();
        self.bytes.copy_within(..length, length);
        let key = self.whole_key_mut();
        // Length bytes are below 64 and so below every letter.
        key[..length].make_ascii_lowercase();
        key[length..length + 2].copy_from_slice(&qtype.to_be_bytes());
        key[length + 2..length + 4].copy_from_slice(&qclass.to_be_bytes());
    }

    fn set_key_flags(&mut self) {
        let bit = |flag| u8::from(self.flags & flag != 0);
        let flags = u8::from(self.dnssec_ok()) << 2 | bit(flag::CD) << 1 | bit(flag::RD);
        let place = self.name_length() + 4;
        self.whole_key_mut()[place] = flags;
        self.set_key_server();
    }

    fn set_key_server(&mut self) {
        let Some(server) = self.server else { return };
        let address = match server.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let link = if let SocketAddr::V6(v6) = server { v6.scope_id() } else { 0 };
        let place = self.name_length() + FLAGS_END;
        let place = &mut self.whole_key_mut()[place..place + SERVER];
        place[..16].copy_from_slice(&address.octets());
        place[16..18].copy_from_slice(&server.port().to_be_bytes());
        place[18..].copy_from_slice(&link.to_be_bytes());
    }

    fn into_malformed(self, rcode: u16) -> MalformedQuery {
        let (id, flags) = (self.id, self.flags);
        MalformedQuery::Answer { id, flags, rcode, query: Some(Box::new(self)) }
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("id", &self.id)
            .field("name", &self.to_name())
            .field("qtype", &self.qtype())
            .field("edns", &self.edns)
            .finish_non_exhaustive()
    }
}

/// A message that is no query this resolver answers.
#[derive(Clone, Debug)]
pub enum MalformedQuery {
    /// Shorter than a header, or a response: it gets no answer, lest two servers answer each
    /// other for ever.
    Silence,
    /// It gets an error.
    Answer {
        /// To be echoed.
        id: u16,
        /// The header's second word.
        flags: u16,
        /// What is wrong, one of [`rcode`].
        rcode: u16,
        /// The question, where it could be read.
        query: Option<Box<Query>>,
    },
}

/// The flags of a reply to a message with these: response, recursion available, RD and CD as asked.
pub(in crate::dns) fn reply_flags(asked: u16) -> u16 {
    flag::QR | flag::RA | asked & (flag::OPCODE | flag::RD | flag::CD)
}

/// The message that asks an upstream server the client's question: fresh id; RD, CD and DO as
/// asked; AD always, so that one answer serves all (RFC 6840, 5.7); an OPT record of our own, so
/// that a client's subnet or cookie stays here; none if the server is not to see any.
pub fn upstream_query(query: &Query, id: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + query.name().len() + 4 + 11);
    out.extend(id.to_be_bytes());
    out.extend((flag::AD | query.flags & (flag::RD | flag::CD)).to_be_bytes());
    out.extend([0, 1, 0, 0, 0, 0, 0, u8::from(!query.omits_edns)]);
    out.extend(query.name());
    out.extend(query.qtype().to_be_bytes());
    out.extend(query.qclass().to_be_bytes());
    if query.omits_edns {
        return out;
    }
    let options = query.subnet.map(subnet_option).unwrap_or_default();
    put_opt(&mut out, 0, query.dnssec_ok(), &options);
    out
}

/// RFC 7871, 6: family, length, no scope, and as many bytes of the address as the length needs.
fn subnet_option(subnet: IpNet) -> Vec<u8> {
    let (family, address) = match subnet.network() {
        IpAddr::V4(v4) => (1u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let address = &address[..usize::from(subnet.prefix_len().div_ceil(8))];
    let data = [&[0, family, subnet.prefix_len(), 0], address].concat();
    option(OPTION_SUBNET, &data)
}

/// An option of an OPT record (RFC 6891, 6.1.2).
pub(in crate::dns) fn option(code: u16, data: &[u8]) -> Vec<u8> {
    // Subnets and constants of a line.
    let length = u16::try_from(data.len()).unwrap_or(0);
    [&code.to_be_bytes(), &length.to_be_bytes(), &data[..usize::from(length)]].concat()
}

/// Appends our OPT record with these options.
pub(in crate::dns) fn put_opt(
    out: &mut Vec<u8>,
    extended_rcode: u8,
    dnssec_ok: bool,
    options: &[u8],
) {
    out.push(0);
    out.extend(rr::OPT.to_be_bytes());
    out.extend(UDP_SIZE.to_be_bytes());
    out.extend([extended_rcode, 0, u8::from(dnssec_ok) << 7, 0]);
    out.extend(u16::try_from(options.len()).unwrap_or(0).to_be_bytes());
    out.extend(options);
}

#[cfg(test)]
mod tests;
