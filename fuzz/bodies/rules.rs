//! What iptables-save and nft print: the rules of everybody.

pub fn run(text: &[u8]) {
    snet::firewall::reading::rules(&String::from_utf8_lossy(text));
}
