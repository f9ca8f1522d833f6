//! snet: a transparent proxy for Linux.
//!
//! The map, and which module may import which, is in ARCHITECTURE.md; `tests/architecture` holds
//! the code to it. The binary runs [`cli::main`].

pub mod cli;
pub mod config;
pub mod daemon;
pub mod exit;
pub mod file_stamp;
pub mod firewall;
pub mod lists;
pub mod selftest;
pub mod share_link;
pub mod subscription;
#[cfg(feature = "top")]
pub mod top;
#[cfg(feature = "web")]
pub mod web;

pub use snet_engine::{
    clock, dispatch, dns, domain, exempt_programs, family, fault, file_kind, inbound, ipset,
    kept_file, local_time, log, mark, net, plugin, probe, proxy, relay, route, search_path, secret,
    sniff, stats, sync, target, task, udp, view, warnings,
};
