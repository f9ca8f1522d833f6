//! How names are answered: the ChinaDNS judgement.
//!
//! # The story of a query, by file
//!
//! 1. [`server`] reads a datagram ([`server::streams`]: a message on a TCP connection). A malformed
//!    one gets an error. Over UDP, a client above its [`limit`] is told to come again over TCP, and
//!    what it sends malformed gets nothing.
//! 2. [`present`] has the [`resolver`] of this moment, which tries what is known, in this order:
//!    for a local name, what the asked server said ([`split_horizon`]); the cache; what the
//!    settings say ([`policy`]: hosts, special names, blocks, filtered types); a question of our
//!    own ([`loops`]); what failed a moment ago. Up to here nothing waits, and a hit in the cache
//!    allocates nothing, unless the name is longer than 50 bytes.
//! 3. Else a task takes a place ([`pending`]: each client has its share) and waits for
//!    [`split_horizon`], which says whether the server that the program asked has a part in it, and
//!    for [`flights`]: one for all clients that ask the same ([`in_flight`]).
//! 4. The flight asks whom [`policy`] names. An address of a name that no list has: both sides
//!    ([`judge`], where [`split`] decides), or with `dns.no-leak` one after the other
//!    ([`no_leak`]); another type: the side that its addresses belong to. A listed or local name:
//!    [`one_side`]. The server that the program asked: [`asked_server`].
//! 5. [`upstream`] puts the question to the servers, [`reply`] reads and classifies what they say.
//! 6. Back in the flight, the answer goes into [`memory`], and its addresses into router and kernel
//!    ([`steering`]), before the resolver writes it for each client.
//! 7. Whoever is given an answer, from the cache too, is remembered with name and addresses
//!    ([`telling`]): the dispatcher may tell a proxy the name.
//!
//! An uncached name costs six or seven tasks: one for the client, the flight, one for each domestic
//! server, one for the trusted side and one for each trusted server that is tried. Those of the
//! domestic side outlive the answer, because a late reply shows that the side is alive.
//!
//! Beside the story stand [`rewriting`] (providers that forge "no such name"), [`bootstrap`] (the
//! proxies' own names), [`persistence`] (the cache's file) and [`query_log`].
//!
//! # Who imports whom
//!
//! Each file imports only files of the lines below its own:
//!
//! ```text
//! server, persistence
//! present
//! resolver
//! split_horizon
//! flights, bootstrap
//! judge, no_leak, one_side, asked_server
//! rewriting
//! memory, steering, telling, service_hints
//! policy, split, horizon, query_log
//! upstream, cache, hosts, special, resolution
//! suspicion, loops, siblings, client_query
//! settings
//! household
//! reply
//! wire, name_server, limit, pending, system, in_flight, warning_pages, identity, forged_addresses
//! ```
//!
//! Everything runs on one thread of its own with a runtime of its own: nothing is locked, and a
//! busy relay does not delay a name. Messages are kept and sent as bytes ([`wire`], [`reply`]).

pub mod bootstrap;
pub mod cache;
pub mod hosts;
pub mod household;
#[cfg(feature = "tls")]
pub mod identity;
pub mod identity_error;
pub mod limit;
pub mod name_server;
pub mod reply;
pub mod settings;
pub mod special;
pub mod split;
pub mod warning_pages;
pub mod wire;

mod asked_server;
mod client_query;
mod explaining;
mod flights;
mod forged_addresses;
mod horizon;
mod in_flight;
mod judge;
mod loops;
mod memory;
#[cfg(not(feature = "tls"))]
pub mod no_identity;
mod no_leak;
mod one_side;
mod pending;
mod persistence;
mod policy;
mod present;
mod query_log;
mod resolution;
mod resolver;
mod rewriting;
mod server;
mod service_hints;
mod siblings;
mod split_horizon;
mod steering;
mod suspicion;
mod system;
mod telling;
mod upstream;

pub use horizon::Origins;
pub use name_server::{NameServer, Transport};
#[cfg(not(feature = "tls"))]
pub use no_identity as identity;
pub use persistence::obstacle;
pub use query_log::type_name;
pub use server::{BoundResolver, Order, bind, spawn};
pub use settings::Settings;
pub use system::read as system_servers;

/// The name that the daemon's proof asks for, see `daemon::proof`. It is answered from
/// the hosts of its settings and leaves no line in the log.
pub fn proof_name(token: &str) -> String {
    format!("{token}.{PROOF}")
}

const PROOF: &str = "proof.snet.invalid";

#[cfg(test)]
mod tests;
