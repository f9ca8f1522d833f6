//! The engine of snet: what every connection, datagram and query passes, and what that needs.
//!
//! A crate of its own so that it is made small only where that costs no speed, and the rest as
//! small as can be (`Cargo.toml`). The modules of both lie side by side, and `src/lib.rs`
//! re-exports these.

pub mod clock;
pub mod dispatch;
pub mod dns;
pub mod domain;
pub mod exempt_programs;
pub mod family;
pub mod fault;
pub mod file_kind;
pub mod inbound;
pub mod ipset;
pub mod kept_file;
pub mod local_time;
pub mod log;
pub mod mark;
pub mod net;
pub mod plugin;
pub mod probe;
pub mod proxy;
pub mod relay;
pub mod route;
pub mod search_path;
pub mod secret;
pub mod sniff;
pub mod stats;
pub mod sync;
pub mod target;
pub mod task;
pub mod udp;
pub mod view;
pub mod warnings;
