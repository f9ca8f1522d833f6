//! What keeps living redirected connections translated while the rules of iptables are flushed.
//!
//! A redirected connection needs two things to its end, whatever became of the rule that redirected
//! it: conntrack, which leaves the path of packets with the last rule that asks for it
//! (nf_ct_netns_put), and nat of its family, which leaves with the last chain of it, in
//! iptables-legacy with the last table (nf_nat_unregister_fn). `iptables -t nat -F` with `-X`, an
//! iptables-restore or `nft flush ruleset` by another program takes away one or both where nobody
//! else has rules of that kind, and every proxied connection is cut. (Seen on 6.18, with
//! iptables-nft and iptables-legacy.)
//!
//! So the iptables backend has a table here that decides nothing: a chain of nat without a rule,
//! and a rule that asks for conntrack in a chain that nothing leads to. No packet pays for it. It
//! belongs to our socket, so that others' flushes pass it by. Where the kernel has no nf_tables, or
//! none with nat in the family inet (Linux 5.2), there is none, and a flush cuts what it cuts.

use super::batch::{Batch, Ownership};
use super::connection::TableConnection;
use super::error::Error;
use super::matches::{BEHIND_DNAT, base};
use super::owner::TableOwner;
use super::table::{ChainKind, Expression, NftChain, NftTable, Point};
use crate::firewall::names::TABLE;
use nix::errno::Errno;
use tracing::debug;

/// The table while it is there. Its drop removes it.
#[derive(Debug)]
pub(in crate::firewall) struct Translation(TableConnection);

impl Translation {
    /// There must be no table of ours.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::firewall) fn hold(owner: TableOwner) -> Result<Self, Error> {
        let TableOwner { connection } = owner;
        for ownership in [Ownership::Owned, Ownership::Plain] {
            let mut batch = Batch::new(TABLE);
            batch.create(&table(), ownership);
            match connection.commit(&batch.seal())? {
                Ok(()) => break,
                // A kernel without owners (Linux 5.12).
                Err(refusal)
                    if ownership == Ownership::Owned
                        && matches!(refusal.errno, Errno::EINVAL | Errno::EOPNOTSUPP) => {}
                Err(refusal) => {
                    return Err(Error::Refused {
                        what: refusal.what,
                        source: refusal.errno.into(),
                    });
                }
            }
        }
        Ok(Translation(connection))
    }
}

impl Drop for Translation {
    fn drop(&mut self) {
        let mut batch = Batch::new(TABLE);
        batch.delete();
        if let Ok(Err(refusal)) = self.0.commit(&batch.seal()) {
            debug!("{}: {}", refusal.what, refusal.errno);
        }
    }
}

/// In nft's own syntax.
pub(in crate::firewall) fn render() -> String {
    table().to_string()
}

fn table() -> NftTable {
    let conntrack = NftChain {
        name: "conntrack".into(),
        hook: None,
        rules: vec![vec![Expression::Begins, Expression::Return]],
    };
    let nat = base("nat", ChainKind::Nat, Point::Output, BEHIND_DNAT, std::iter::empty());
    NftTable {
        name: TABLE,
        sets: Vec::new(),
        flowtable: None,
        counters: Vec::new(),
        chains: vec![nat, conntrack],
    }
}
