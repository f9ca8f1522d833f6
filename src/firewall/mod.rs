//! What the kernel is told: a [`Ruleset`] is a value; a backend renders and applies it whole.
//!
//! There are two backends ([`Backend`]): [`iptables`], with ipset, and [`nftables`], which needs no tool;
//! both do the same. Synchronous; knows no tokio.

mod backend;
mod change_listener;
mod conflicts;
mod culprit;
mod device_routes;
mod entry;
mod environment;
mod error;
mod exempt_programs;
mod family;
mod iptables;
mod ladder;
mod monitor;
mod names;
mod netlink;
mod network;
pub mod nftables;
pub mod probe;
#[doc(hidden)]
pub mod reading;
mod ruleset;
mod saved_files;
mod sets;
mod switch;
mod third_party;
mod tools;

#[cfg(test)]
mod tests;

pub use backend::{Backend, Cleaned, Installed, Prepared, cleanup, is_closed, render};
pub use culprit::culprit;
pub use environment::default_route::WayOut;
pub use environment::lan::{Interface, Lan};
pub use error::Error;
pub use exempt_programs::{Cgroup, LeftAlone, cgroup_path};
pub use family::Family;
pub use iptables::Handle;
pub use netlink::conntrack::Conntrack;
pub use ruleset::{Ipv6, Quic, Ruleset};
pub use switch::{OnFailure, PULSE, Switch, Switches};
pub use tools::{load_legacy_modules, needs_raw_sockets};
