//! What the kernel says over netlink: links, addresses and routes, sets, tables.

pub fn run(datagram: &[u8]) {
    snet::firewall::reading::netlink(datagram);
}
