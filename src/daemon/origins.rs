//! Where redirected queries wanted to go: the daemon's side of the resolver's small trait.

use crate::dns::Origins;
use crate::firewall::Conntrack;
use std::net::SocketAddr;
use tracing::{debug, warn};

/// Asks the kernel.
#[derive(Debug)]
struct FromConntrack(Conntrack);

/// `None` where the kernel cannot tell: then names that only the asked server knows are not found.
pub(super) fn open() -> Option<Box<dyn Origins>> {
    let opened = Conntrack::open().inspect_err(|error| {
        warn!(
            "names that only a container's, cluster's or VPN's name server knows are not found: \
             conntrack does not tell which server was asked ({error}); is the kernel module \
             nf_conntrack_netlink there (on OpenWrt: kmod-nf-conntrack-netlink)?"
        );
    });
    opened.ok().map(|conntrack| -> Box<dyn Origins> { Box::new(FromConntrack(conntrack)) })
}

impl Origins for FromConntrack {
    fn of_datagram(&self, client: SocketAddr, local: SocketAddr) -> Option<SocketAddr> {
        let found = self.0.original_destination(client, local);
        found.inspect_err(|error| debug!(%client, "conntrack does not tell: {error}")).ok()?
    }
}
