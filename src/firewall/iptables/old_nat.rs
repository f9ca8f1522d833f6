//! nat of iptables-nft on an old kernel.
//!
//! Before Linux 4.18 (9971a514ed26) a chain of nat in nf_tables translates at its own hook alone.
//! Without one at POSTROUTING replies are not translated back, and without one at INPUT what takes
//! the place of a used port is not given another. iptables makes no chain that it is not told of:
//! so it is told of both, unless somebody else has one there. Of two the first one settles what a
//! connection's source becomes, and the other's masquerade would be passed over.

use crate::family::Family;
use crate::firewall::netlink::nat_chains;
use crate::firewall::tools::Iptables;
use crate::firewall::tools::kernel::is_before;

const NAT_IS_ONE: (u32, u32) = (4, 18);

/// The text of an installation, with what this kernel has to be told beside.
pub(super) fn completed(text: String, family: Family, tools: &Iptables) -> String {
    let is_told = is_before(NAT_IS_ONE)
        && !tools.is_legacy()
        && !tools.is_nat_of_legacy_there()
        && !nat_chains::are_elsewhere(family).unwrap_or(false);
    if is_told { with_chains(&text) } else { text }
}

fn with_chains(text: &str) -> String {
    text.replace("*nat\n", "*nat\n:INPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nat_gets_chains() {
        let text = "*mangle\n:X - [0:0]\nCOMMIT\n*nat\n:X - [0:0]\nCOMMIT\n";
        let told = "*mangle\n:X - [0:0]\nCOMMIT\n*nat\n:INPUT ACCEPT [0:0]\n\
                    :POSTROUTING ACCEPT [0:0]\n:X - [0:0]\nCOMMIT\n";
        assert_eq!(with_chains(text), told);
    }
}
