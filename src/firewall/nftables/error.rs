//! What goes wrong between us and nf_tables.

use super::holder::Holder;
use crate::firewall::tools::kernel;
use std::fmt::{self, Display, Formatter};
use std::io;

/// Why a table could not be installed, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root.
    #[error("nftables is not permitted; run snet as root or with CAP_NET_ADMIN")]
    NotPermitted,
    /// The kernel was built without nf_tables, or without IPv6, which the family inet needs.
    #[error(
        "this kernel has no nf_tables for the family inet ({source}); try `modprobe nf_tables`, \
         or firewall.backend = \"iptables\""
    )]
    Absent {
        /// What it said.
        source: io::Error,
    },
    /// The kernel lacks one thing that we need.
    #[error(
        "this kernel cannot do {what} ({source}){}; or firewall.backend = \"iptables\"",
        Brought(what)
    )]
    Unsupported {
        /// What was asked for.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// A living daemon has the table.
    #[error(
        "the nftables table inet {table} belongs to {holder}; two cannot share a machine: stop \
         that one first"
    )]
    Owned {
        /// Its name.
        table: &'static str,
        /// Who.
        holder: Holder,
    },
    /// The kernel takes a table as a whole, from a buffer of limited size.
    #[error(
        "the sets are too large for one transaction ({bytes} bytes) without the rights of root; \
         raise net.core.wmem_max to {bytes}, or shorten rules.china-ip-file"
    )]
    TooLarge {
        /// The transaction.
        bytes: usize,
    },
    /// The kernel refused, for a reason of its own.
    #[error("nftables refused {what}: {source}{}", hint(source))]
    Refused {
        /// What was asked for.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// The conversation failed, not the request.
    #[error("cannot speak to nftables over netlink: {source}")]
    Netlink {
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// Whether a user with more rights would have succeeded.
    pub fn is_permission(&self) -> bool {
        matches!(self, Error::NotPermitted)
    }
}

/// A piece of nf_tables that is a module of its own, as a rule.
struct KernelPiece {
    /// How it shows in what was asked for.
    sign: &'static str,
    module: &'static str,
    /// Of OpenWrt (package/kernel/linux/modules/netfilter.mk).
    package: &'static str,
    /// The first Linux that has it, if that is newer than 4.14.
    since: Option<&'static str>,
}

impl KernelPiece {
    const fn new(sign: &'static str, module: &'static str, package: &'static str) -> Self {
        KernelPiece { sign, module, package, since: None }
    }

    const fn since(self, linux: &'static str) -> Self {
        KernelPiece { since: Some(linux), ..self }
    }
}

const PIECES: [KernelPiece; 9] = [
    KernelPiece::new(" tproxy ", "nft_tproxy", "kmod-nft-tproxy").since("4.19"),
    KernelPiece::new("socket cgroupv2", "nft_socket", "kmod-nft-socket").since("5.13"),
    KernelPiece::new("fib ", "nft_fib_inet", "kmod-nft-fib"),
    KernelPiece::new("redirect to", "nft_redir", "kmod-nft-core"),
    KernelPiece::new("dnat ip6 to", "nft_nat", "kmod-nft-nat"),
    KernelPiece::new("reject", "nft_reject_inet", "kmod-nft-core"),
    KernelPiece::new("notrack", "nft_ct", "kmod-nft-core"),
    KernelPiece::new("ct ", "nft_ct", "kmod-nft-core"),
    KernelPiece::new("type nat", "nft_chain_nat", "kmod-nft-nat").since("5.2"),
];

/// The first Linux that has all that snet cannot do without.
const WHOLE_SINCE: (u32, u32) = (5, 2);

/// Where that comes from which was asked for in these words. The kernel refuses a whole rule, so
/// each of its pieces may be the missing one.
struct Brought<'a>(&'a str);

impl Display for Brought<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rule = self.0.split('`').nth(1).unwrap_or(self.0);
        let found = PIECES.iter().filter(|piece| rule.contains(piece.sign)).collect::<Vec<_>>();
        let mut modules: Vec<_> = found.iter().map(|piece| piece.module).collect();
        let mut packages: Vec<_> = found.iter().map(|piece| piece.package).collect();
        if found.is_empty() {
            (modules, packages) = (vec!["nf_tables"], vec!["kmod-nft-core"]);
        }
        modules.dedup();
        packages.dedup();
        let (modules, packages) = (modules.join(" "), packages.join(" "));
        write!(f, "; try `modprobe -a {modules}`; on OpenWrt: {packages}")?;
        match found.iter().find_map(|piece| piece.since) {
            Some(linux) => write!(f, "; there since Linux {linux}"),
            None if found.is_empty() && kernel::is_before(WHOLE_SINCE) => {
                let (major, minor) = WHOLE_SINCE;
                write!(f, "; snet needs Linux {major}.{minor} for nftables")
            }
            None => Ok(()),
        }
    }
}

/// What the operator can do.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::ResourceBusy => "; another program is changing the firewall, try again",
        io::ErrorKind::NotFound => "; somebody removed our table, it is made again within seconds",
        _ => "",
    }
}
