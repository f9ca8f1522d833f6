//! The names and numbers by which what is ours is known in the kernel, whoever installed it.

/// The one table of nf_tables. Further ones, of a trace, begin with it and a dash.
pub(super) const TABLE: &str = "snet";

/// Every chain in the tables of iptables is this one or begins with it and a dash.
pub(super) const CHAIN: &str = "SNET";

/// The beginning of the name of every ipset.
pub(super) const PREFIX: &str = "snet-";

/// The conntrack zone of captured queries, see [`super::iptables`]. Any number but 0 that nothing
/// else uses here; Open vSwitch and the CNIs of clusters count from 1 upwards.
pub(super) const ZONE: u16 = 0x5353;

/// Whether a chain of iptables is ours.
pub(super) fn is_ours(chain: &str) -> bool {
    chain.strip_prefix(CHAIN).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
