//! What goes wrong between us and nf_tables.

use super::holder::Holder;
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
        "this kernel cannot do {what} ({source}); try `modprobe -a nf_tables nft_chain_nat \
         nft_ct nft_fib_inet nft_redir nft_reject_inet{}`, or firewall.backend = \"iptables\"{}",
        if needs_tproxy(what) { " nft_tproxy" } else { "" },
        if needs_tproxy(what) { "; on OpenWrt the package is kmod-nft-tproxy" } else { "" },
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

/// Whether it was a rule that gives datagrams to the transparent listener.
fn needs_tproxy(what: &str) -> bool {
    what.contains(" tproxy ")
}

/// What the operator can do.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::ResourceBusy => "; another program is changing the firewall, try again",
        io::ErrorKind::NotFound => "; somebody removed our table, it is made again within seconds",
        _ => "",
    }
}
