//! The lab: snet against real peers, in network namespaces that hold a little internet.
//!
//! Needs no root: every test runs in user, network, mount and process namespaces of its own
//! ([`sealed`]), on two hosts with a wire between them ([`world`]). The peers ([`peer`]) are the
//! programs that people use; where one has to misbehave it is a small server of ours. What is
//! looked for is absence as well as presence, by counters in the kernel ([`counters`]).
//!
//! The subjects, a file each: [`peers`] proves the laboratory without snet; the others prove snet.

#![expect(
    clippy::disallowed_methods,
    reason = "clients and peers of the lab are no part of snet: their sockets must not be marked"
)]

use snet_lab::{cgroup, process, stop, tools, variant, wait, world};

mod client;
mod counters;
mod digest;
mod peer;
mod question;
mod snet;
mod tables;
mod upstream;

mod absence;
mod auto;
mod bad_proxy;
mod behind;
mod bound;
mod closed;
mod crowd;
mod datagrams;
mod dial_options;
mod dns_only;
mod few_ports;
mod first_bytes;
mod flows;
mod flushed;
mod forged_at_home;
mod fuzzed_clients;
mod half_close;
mod hangup;
mod household;
mod https;
mod hung;
mod interop;
mod kill_at_random;
mod killed;
mod late_complaints;
mod local_proxy;
mod members;
mod names;
mod no_ipv6;
mod offload;
mod open_before;
mod peers;
mod plugins;
mod proxy_moves;
mod proxy_name;
mod queries;
mod reach;
mod refusals;
mod reload;
mod resolver_options;
mod restored;
mod returned;
mod router;
mod rules;
mod seeing;
mod shares;
mod shortage;
mod sip022;
mod small_machine;
mod soak;
mod socks;
mod split_horizon;
mod steps;
mod subscriptions;
mod suspend;
mod time_wait;
mod told_names;
mod transfer;
mod unproven;
mod unproven_datagrams;
mod unread_log;
mod warm;
mod watched_lists;
