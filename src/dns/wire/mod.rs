//! DNS messages as bytes (RFC 1035, 4): numbers, the bounded reader, queries.
//!
//! The hot path handles raw messages: nothing is decoded that the decision does not need, and
//! nothing is encoded again that can be copied. Any bytes can be read: the reader returns `None`
//! at the first thing that does not fit, and never panics, loops or allocates.

mod query;
mod reader;
mod soundness;

pub use query::{Edns, MalformedQuery, Query, upstream_query};
pub(super) use query::{option, put_opt, reply_flags};
pub(super) use reader::{Record, Records, WireName, u16_at};

/// Length of the header.
pub const HEADER: usize = 12;

/// No UDP message of ours is larger, and none larger is asked for: it passes every usual path
/// without fragments (RFC 9715, 3.1; DNS flag day 2020).
pub const UDP_SIZE: u16 = 1232;

/// What a client without EDNS can take (RFC 1035, 2.3.4).
pub const PLAIN_UDP_SIZE: u16 = 512;

/// The largest message over TCP.
pub const TCP_SIZE: usize = 65_535;

/// The class IN.
pub const CLASS_IN: u16 = 1;

/// Bits of the second word of the header.
pub mod flag {
    /// It is a response.
    pub const QR: u16 = 0x8000;
    /// The operation; 0 is a query.
    pub const OPCODE: u16 = 0x7800;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Authentic data (RFC 4035).
    pub const AD: u16 = 0x0020;
    /// Checking disabled (RFC 4035).
    pub const CD: u16 = 0x0010;
    /// The response code.
    pub const RCODE: u16 = 0x000f;
}

/// Record types.
pub mod rr {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Canonical name.
    pub const CNAME: u16 = 5;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Pointer, for reverse look-ups.
    pub const PTR: u16 = 12;
    /// Host information; the answer to ANY (RFC 8482).
    pub const HINFO: u16 = 13;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// The EDNS pseudo-record (RFC 6891).
    pub const OPT: u16 = 41;
    /// Signature (RFC 4034).
    pub const RRSIG: u16 = 46;
    /// Service binding (RFC 9460).
    pub const SVCB: u16 = 64;
    /// Service binding for HTTPS (RFC 9460).
    pub const HTTPS: u16 = 65;
    /// Transaction signature (RFC 8945).
    pub const TSIG: u16 = 250;
    /// Everything; see RFC 8482.
    pub const ANY: u16 = 255;
}

/// Response codes.
pub mod rcode {
    /// No error.
    pub const NOERROR: u16 = 0;
    /// The query could not be read.
    pub const FORMERR: u16 = 1;
    /// The server failed.
    pub const SERVFAIL: u16 = 2;
    /// There is no such name.
    pub const NXDOMAIN: u16 = 3;
    /// Not implemented.
    pub const NOTIMP: u16 = 4;
    /// The server does not want to.
    pub const REFUSED: u16 = 5;
    /// EDNS version not known (RFC 6891); needs EDNS to be said.
    pub const BADVERS: u16 = 16;

    /// As people know it.
    pub fn word(code: u16) -> String {
        let word = match code {
            NOERROR => "NOERROR",
            FORMERR => "FORMERR",
            SERVFAIL => "SERVFAIL",
            NXDOMAIN => "NXDOMAIN",
            NOTIMP => "NOTIMP",
            REFUSED => "REFUSED",
            BADVERS => "BADVERS",
            _ => return format!("error {code}"),
        };
        word.into()
    }
}
