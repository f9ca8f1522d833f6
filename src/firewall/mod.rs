//! What the kernel is told: a [`Ruleset`] is a value; a backend renders and applies it whole.
//!
//! There are two backends ([`Backend`] chooses, [`Installed`] is what both can do): [`iptables`],
//! with ipset, and [`nftables`], which needs no tool; both do the same. Synchronous; knows no
//! tokio.

mod backend;
mod change_listener;
mod conflicts;
mod culprit;
mod device_routes;
mod direct;
mod entry;
mod environment;
mod error;
mod flow;
mod folded;
mod installed;
mod iptables;
mod ladder;
mod look_up;
mod monitor;
mod names;
mod netlink;
mod network;
mod nftables;
mod older_flows;
mod policy;
mod policy_routes;
#[doc(hidden)]
pub mod reading;
mod ruleset;
mod saved_files;
mod sets;
mod switch;
mod third_party;
mod tools;
mod whereabouts;

#[cfg(test)]
mod tests;

pub use backend::{
    Backend, Cleaned, Prepared, cleanup, has_table, is_closed, offloaded, render, shortfalls,
    try_nftables,
};
pub use culprit::{culprit, culprit_of_datagrams};
pub use direct::{DirectBytes, DirectCounts, DirectReason, DirectSums};
pub use environment::Environment;
pub use environment::datagrams::DatagramLimits;
pub use environment::default_route::DefaultRoute;
pub use environment::lan::{Interface, LanSide};
pub use environment::offload::OffloadLimits;
pub use error::Error;
pub use flow::Flow;
pub use folded::folded;
pub use installed::Installed;
pub use look_up::KernelAnswer;
pub use netlink::conntrack::Conntrack;
pub use policy::{Datagrams, Ipv6, LanPolicy, Policy};
pub use ruleset::Ruleset;
pub use switch::{OnFailure, RULE_LIFETIME, Switch, Switches};
pub use tools::{load_iptables_modules, needs_raw_sockets};
pub use whereabouts::{HostCapture, HostRelation, Whereabouts};
