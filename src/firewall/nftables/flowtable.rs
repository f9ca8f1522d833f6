//! The flowtable in a transaction. It cannot be emptied: it is removed and made anew, and the
//! kernel takes out its flows (nf_flow_table_free); they go on by the long way.
//!
//! A flowtable that rules name cannot be removed, so these go first, in the same transaction.
//!
//! Source: linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c (nf_tables_newflowtable).

use super::batch::Batch;
use super::message::Act;
use super::table::{NftFlowtable, NftTable};
use crate::firewall::netlink::flowtables::{
    NFTA_DEVICE_NAME, NFTA_FLOWTABLE_HOOK, NFTA_FLOWTABLE_HOOK_DEVS, NFTA_FLOWTABLE_NAME,
    NFTA_FLOWTABLE_TABLE,
};
use crate::firewall::netlink::{NLM_F_CREATE, NLM_F_EXCL};

const NFTA_FLOWTABLE_FLAGS: u16 = 7;
const NFTA_FLOWTABLE_HOOK_NUM: u16 = 1;
const NFTA_FLOWTABLE_HOOK_PRIORITY: u16 = 2;
const NF_NETDEV_INGRESS: u32 = 0;
/// Conntrack goes on counting bytes where it does at all; since Linux 5.7, before that it is not
/// known or passed over.
const NFT_FLOWTABLE_COUNTER: u32 = 2;

impl Batch {
    /// The flowtable of this table anew: what is in it takes the long way, and comes back if the
    /// rules still say so.
    pub(super) fn empty_flowtable(&mut self, table: &NftTable) {
        let chains = || table.chains.iter().filter(|chain| chain.offloads());
        chains().for_each(|chain| self.clear(chain));
        self.exchange_flowtable(table.flowtable.as_ref(), table.flowtable.as_ref());
        chains().for_each(|chain| self.rules(chain));
    }

    /// The new one, or none, in the place of the old one.
    pub(super) fn exchange_flowtable(
        &mut self,
        old: Option<&NftFlowtable>,
        new: Option<&NftFlowtable>,
    ) {
        let name = self.table;
        if let Some(old) = old {
            self.push(Act::DelFlowtable, 0, format!("flowtable {}", old.name), |delete| {
                delete.text(NFTA_FLOWTABLE_TABLE, name);
                delete.text(NFTA_FLOWTABLE_NAME, old.name);
            });
        }
        if let Some(new) = new {
            self.make_flowtable(new);
        }
    }

    pub(super) fn make_flowtable(&mut self, flowtable: &NftFlowtable) {
        let table = self.table;
        let what = format!("flowtable {}", flowtable.name);
        self.push(Act::NewFlowtable, NLM_F_CREATE | NLM_F_EXCL, what, |new| {
            new.text(NFTA_FLOWTABLE_TABLE, table);
            new.text(NFTA_FLOWTABLE_NAME, flowtable.name);
            new.nest(NFTA_FLOWTABLE_HOOK, |hook| {
                hook.number(NFTA_FLOWTABLE_HOOK_NUM, NF_NETDEV_INGRESS);
                hook.number(NFTA_FLOWTABLE_HOOK_PRIORITY, 0);
                hook.nest(NFTA_FLOWTABLE_HOOK_DEVS, |list| {
                    flowtable
                        .devices
                        .iter()
                        .for_each(|at| list.bytes(NFTA_DEVICE_NAME, at.terminated()));
                });
            });
            new.number(NFTA_FLOWTABLE_FLAGS, NFT_FLOWTABLE_COUNTER);
        });
    }
}
