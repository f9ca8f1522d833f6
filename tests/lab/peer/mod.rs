//! The peers: real programs where there is one, small ones of ours where a peer has to misbehave
//! in a certain way.

pub mod connect_proxy;
pub mod coturn;
pub mod forger;
pub mod http_proxy;
pub mod https_proxy;
pub mod malformed_proxy;
pub mod many_protocols;
pub mod names;
pub mod nginx;
pub mod plugin_server;
pub mod provider;
pub mod quic;
pub mod resolved;
pub mod service;
pub mod shadowsocks;
pub mod signed;
pub mod socks;
pub mod unbound;

use crate::process::{Place, Running, command, finish};
use crate::wait;
use std::net::SocketAddr;
use std::time::Duration;

/// Waits until a peer of the internet listens, and fails with what it said if it ends before.
fn wait_for_listener(peer: &mut Running, address: SocketAddr) {
    let filter = format!("sport = :{}", address.port());
    let mut ended = None;
    let listens = wait::quietly(Duration::from_secs(15), || {
        ended = peer.ended();
        let mut ss = command(Place::Internet, "ss");
        let sockets = finish(ss.args(["-Hnltu", &filter])).stdout;
        ended.is_some() || sockets.contains(&address.to_string())
    });
    assert!(listens && ended.is_none(), "nobody listens on {address}: {ended:?}\n{}", peer.log());
}
