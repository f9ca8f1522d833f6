//! Counting rules: how absence is proved.
//!
//! They live in an nft table of the lab's own, which neither variant of iptables shows or touches.

use crate::process::{FOLDER, Place, command, finish, run};
use crate::snet::TCP_PORT;
use snet::mark::Fwmark;
use std::fs;
use std::path::Path;

/// Counters of the machine.
///
/// A connection is known by its `ct id`, its source port and its first sequence number. The id
/// alone is a hash of 32 bits (`nf_ct_get_id` in net/netfilter/nf_conntrack_core.c), and one that
/// takes the place in conntrack and the port of one that has ended has the same: of 11,000 in a
/// minute 21 had. A first packet that is sent again has the number too.
#[derive(Debug)]
pub struct Counters(());

impl Counters {
    /// Starts to count.
    pub fn start() -> Self {
        let (mark, mask) = (Fwmark::SNET.value(), Fwmark::SNET.mask());
        let text = format!(
            "table inet lab {{
                set begun {{ typeof ct id . tcp sport . tcp sequence; flags dynamic; size 65535; }}
                counter captured {{ }}
                counter repeated {{ }}
                counter leaked {{ }}
                counter marked {{ }}
                counter unmarked {{ }}
                counter domestic {{ }}
                chain input {{
                    type filter hook input priority -400;
                    meta mark & {mask} == {mark} return
                    ct original ip daddr 192.0.0.8 return
                    ct original ip6 daddr 100::8 return
                    tcp dport {TCP_PORT} tcp flags & (syn | ack) == syn jump begun
                }}
                chain begun {{
                    ct id . tcp sport . tcp sequence @begun counter name repeated return
                    add @begun {{ ct id . tcp sport . tcp sequence }} counter name captured
                }}
                chain postrouting {{
                    type filter hook postrouting priority 400;
                    oifname != uplink return
                    ip daddr 203.0.113.0/24 counter name leaked
                    ip6 daddr 2001:db8:f::/48 counter name leaked
                    ip daddr 198.51.100.0/24 counter name domestic
                    ip6 daddr 2001:db8:c::/48 counter name domestic
                    tcp flags & (syn | ack) != syn return
                    ip daddr 192.0.2.0/24 meta mark & {mask} == {mark} counter name marked
                    ip daddr 192.0.2.0/24 meta mark & {mask} != {mark} counter name unmarked
                    ip6 daddr 2001:db8:a::/48 meta mark & {mask} == {mark} counter name marked
                    ip6 daddr 2001:db8:a::/48 meta mark & {mask} != {mark} counter name unmarked
                }}
            }}"
        );
        let file = Path::new(FOLDER).join("counters.nft");
        fs::write(&file, text).expect("the tmpfs is writable");
        run(Place::Machine, "nft", &["-f", &file.display().to_string()]);
        Counters(())
    }

    /// Starts to count again from zero.
    pub fn restart() -> Self {
        // Only the first time there is nothing to delete.
        let mut nft = command(Place::Machine, "nft");
        finish(nft.args(["delete", "table", "inet", "lab"]));
        Self::start()
    }

    /// Connections that were redirected to snet; its own questions to itself do not count. A first
    /// packet that is sent again, as on a busy machine, is no second connection.
    pub fn captured(&self) -> u64 {
        packets("captured")
    }

    /// First packets of connections to snet that were sent again.
    pub fn repeated(&self) -> u64 {
        packets("repeated")
    }

    /// Packets that left the machine for a foreign site.
    pub fn leaked(&self) -> u64 {
        packets("leaked")
    }

    /// Packets that left the machine for a domestic address.
    pub fn domestic(&self) -> u64 {
        packets("domestic")
    }

    /// Connections to the proxy servers that carry snet's mark.
    pub fn marked(&self) -> u64 {
        packets("marked")
    }

    /// And those that do not.
    pub fn unmarked(&self) -> u64 {
        packets("unmarked")
    }
}

fn packets(name: &str) -> u64 {
    let text = run(Place::Machine, "nft", &["list", "counter", "inet", "lab", name]);
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).and_then(|number| number.parse().ok()).expect("nft prints packets and a number")
}
