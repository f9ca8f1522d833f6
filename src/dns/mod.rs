//! How names are answered: the ChinaDNS judgement.
//!
//! The story of a query. [`server`] receives it; [`resolver`] walks down the ladder of early
//! returns (hosts, special names, blocks, cache). What is left becomes a [`flight`], one for all
//! who ask the same at that moment: it chooses whom to ask, and for a name that nobody listed
//! [`judge`] asks both sides and lets [`split`] decide, or with `dns.no-leak` [`no_leak`] asks one
//! after the other. [`upstream`] does the asking. Beside the story stand [`limit`] (floods),
//! [`loops`] (our own questions), [`split_horizon`] (names that only the asked server knows), [`present`] (other settings while it runs), [`persistence`] (the cache's file) and [`query_log`].
//!
//! Everything runs on one thread of its own with a runtime of its own: nothing is locked, and a
//! busy relay does not delay a name. Messages are kept and sent as bytes ([`wire`], [`reply`]).

pub mod bootstrap;
pub mod cache;
pub mod hosts;
pub mod limit;
pub mod name_server;
pub mod reply;
pub mod settings;
pub mod special;
pub mod split;
pub mod wire;

mod asked_server;
mod client_query;
mod flights;
mod horizon;
mod in_flight;
mod judge;
mod loops;
mod memory;
mod no_leak;
mod one_side;
mod persistence;
mod policy;
mod present;
mod query_log;
mod resolution;
mod resolver;
mod rewriting;
mod server;
mod siblings;
mod split_horizon;
mod steering;
mod system;
mod upstream;

pub use horizon::Origins;
pub use name_server::{NameServer, Transport};
pub use persistence::obstacle;
pub use server::{BoundResolver, Order, bind, spawn};
pub use settings::Settings;

/// The name that the daemon's proof asks for, see `daemon::proof`. It is answered from
/// the hosts of its settings and leaves no line in the log.
pub fn proof_name(token: &str) -> String {
    format!("{token}.{PROOF}")
}

const PROOF: &str = "proof.snet.invalid";

#[cfg(test)]
mod tests;
