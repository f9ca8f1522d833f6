//! Asking other name servers: over UDP ([`udp`]), over one TCP connection for one query ([`tcp`]),
//! in any way for one query ([`once`]), and over a kept, pipelined connection ([`kept`]), direct or through the proxy, bare, in TLS
//! ([`tls`]) or over HTTPS ([`https`]).
//!
//! A reply counts only if number, name, type and class are those of the question, and it came over
//! a connected socket with a random port (RFC 5452).

pub(super) mod domestic;
mod https;
mod message_id;
pub(super) mod once;
pub(super) mod persistent;
mod request;
pub(super) mod stagger;
pub(super) mod tcp;
pub(super) mod trusted;
pub(super) mod udp;
