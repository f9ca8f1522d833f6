//! snet: a transparent proxy for Linux.
//!
//! The map, and which module may import which, is in ARCHITECTURE.md; `tests/architecture` holds
//! the code to it. The binary runs [`cli::main`].

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod dispatch;
pub mod dns;
pub mod domain;
pub mod exit;
pub mod fault;
pub mod file_kind;
pub mod file_stamp;
pub mod firewall;
pub mod inbound;
pub mod ipset;
pub mod kept_file;
pub mod lists;
pub mod local_time;
pub mod log;
pub mod mark;
pub mod net;
pub mod plugin;
pub mod proxy;
pub mod relay;
pub mod route;
pub mod search_path;
pub mod secret;
pub mod selftest;
pub mod share_link;
pub mod sniff;
pub mod stats;
pub mod subscription;
pub mod sync;
pub mod target;
pub mod task;
#[cfg(feature = "top")]
pub mod top;
pub mod udp;
pub mod view;
pub mod warnings;
pub mod web;
