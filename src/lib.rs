//! snet: a transparent proxy for Linux.
//!
//! The map, lower layers first. A lower layer never imports a higher one.
//!
//! | layer | modules |
//! |---|---|
//! | values | [`mark`] [`target`] [`ipset`] [`domain`] [`secret`] [`stats`] [`file_kind`] [`fault`] |
//! | single subjects | [`route`] [`net`] [`firewall`] |
//! | ways out | [`proxy`] |
//! | one connection | [`dispatch`] [`relay`] |
//! | ways in | [`inbound`] [`dns`] |
//! | the file | [`config`] |
//! | the life | [`daemon`] |
//! | the proof | [`selftest`] |
//! | the terminal | [`log`] [`cli`] |

pub mod cli;
pub mod config;
pub mod daemon;
pub mod dispatch;
pub mod dns;
pub mod domain;
pub mod fault;
pub mod file_kind;
pub mod firewall;
pub mod inbound;
pub mod ipset;
pub mod log;
pub mod mark;
pub mod net;
pub mod proxy;
pub mod relay;
pub mod route;
pub mod secret;
pub mod selftest;
pub mod stats;
pub mod target;
