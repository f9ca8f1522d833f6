//! A transaction of nf_tables: messages between a begin and an end, carried out all or not at all
//! (net/netfilter/nfnetlink.c, nfnetlink_rcv_batch).

use super::expression;
use super::message::{Act, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, bracket, request};
use super::numbers;
use super::set_encoding;
use super::table::{BaseHook, NftChain, NftSet, NftTable, Shape};
use super::text::line;
use crate::firewall::netlink::{Attributes, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use std::time::Duration;

// linux/netfilter/nf_tables.h
pub(super) const NFTA_TABLE_NAME: u16 = 1;
pub(super) const NFTA_TABLE_FLAGS: u16 = 2;
pub(super) const NFTA_TABLE_HANDLE: u16 = 4;
pub(super) const NFTA_TABLE_OWNER: u16 = 7;
/// The kernel removes the table when the socket that made it closes, and lets nobody else change
/// it; since Linux 5.12.
pub(super) const NFT_TABLE_F_OWNER: u32 = 2;
/// A table with an owner outlives it, and then has none; since Linux 6.9.
pub(super) const NFT_TABLE_F_PERSIST: u32 = 4;
pub(super) const NFTA_CHAIN_TABLE: u16 = 1;
pub(super) const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NF_ACCEPT: u32 = 1;

/// Elements in a message: a range of IPv6 with a time-out has 76 bytes, and the list of them at
/// most 65,535.
const CHUNK: usize = 800;
/// About what one takes.
const ELEMENT: usize = 64;

/// Where struct nlmsghdr keeps its flags.
const FLAGS: usize = 6;

/// The messages so far. The sequence number of each is its place, from 0, so that the kernel's
/// answer leads to [`what`](Self::what) was asked.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) table: &'static str,
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
    what: Vec<String>,
    sets: u32,
}

/// Whose a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// It goes with the socket that made it, and no other program can change it.
    Owned,
    /// No other program can change it, and it stays when the socket closes.
    Persistent,
    /// Anybody's; it stays.
    Plain,
}

impl Ownership {
    fn flags(self) -> u32 {
        match self {
            Ownership::Owned => NFT_TABLE_F_OWNER,
            Ownership::Persistent => NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST,
            Ownership::Plain => 0,
        }
    }
}

/// What is sent.
#[derive(Debug)]
pub(super) struct SealedBatch {
    pub(super) bytes: Vec<u8>,
    /// In words, what each message asks for.
    pub(super) what: Vec<String>,
    /// The message whose success is acknowledged: the last one that can fail.
    pub(super) acknowledged: u32,
}

impl Batch {
    /// A transaction about this table.
    pub(super) fn new(table: &'static str) -> Self {
        let bytes = bracket(NFNL_MSG_BATCH_BEGIN, 0);
        Batch { table, bytes, last: 0, what: vec!["the batch".into()], sets: 0 }
    }

    /// Makes the table, and all that is in it, inactive: the switches stay empty. It must not be
    /// there.
    pub(super) fn create(&mut self, table: &NftTable, ownership: Ownership) {
        let name = self.table;
        self.bytes.reserve(table.sets.iter().map(|set| ELEMENT * set.elements.len()).sum());
        self.push(Act::NewTable, NLM_F_CREATE | NLM_F_EXCL, format!("table {name}"), |new| {
            new.text(NFTA_TABLE_NAME, name);
            new.number(NFTA_TABLE_FLAGS, ownership.flags());
        });
        for set in &table.sets {
            self.define(set);
            if !matches!(set.shape, Shape::Switch { .. } | Shape::Latch) {
                self.add(set, None);
            }
        }
        if let Some(flowtable) = &table.flowtable {
            self.make_flowtable(flowtable);
        }
        self.fill(table);
    }

    /// In a table that is there: what differs. What comes with time, the switch and what was
    /// learned, stays in the sets that both have. The flowtable is made anew.
    pub(super) fn turn(&mut self, old: &NftTable, new: &NftTable) {
        let name = self.table;
        let old_set = |set: &NftSet| old.sets.iter().find(|old| old.name == set.name);
        for set in &new.sets {
            match old_set(set) {
                None => {
                    self.define(set);
                    self.add(set, None);
                }
                Some(old) if set.is_lasting() && old.elements != set.elements => self.refill(set),
                Some(_) => {}
            }
        }
        let same =
            |chain: &NftChain, table: &NftTable| table.chains.contains(chain) && !chain.offloads();
        let gone = |chain: &NftChain, table: &NftTable| {
            table.chains.iter().all(|other| other.name != chain.name || other.hook != chain.hook)
        };
        for chain in old.chains.iter().filter(|chain| !same(chain, new)) {
            self.clear(chain);
        }
        for chain in old.chains.iter().filter(|chain| gone(chain, new)) {
            self.push(Act::DelChain, 0, format!("chain {}", chain.name), |delete| {
                delete.text(NFTA_CHAIN_TABLE, name);
                delete.text(NFTA_CHAIN_NAME, &chain.name);
            });
        }
        for counter in new.counters.iter().filter(|it| !old.counters.contains(it)) {
            self.counter(Act::NewObject, NLM_F_CREATE, counter);
        }
        self.exchange_flowtable(old.flowtable.as_ref(), new.flowtable.as_ref());
        for chain in new.chains.iter().filter(|chain| gone(chain, old)) {
            self.chain(chain);
        }
        for chain in new.chains.iter().filter(|chain| !same(chain, old)) {
            self.rules(chain);
        }
        for counter in old.counters.iter().filter(|it| !new.counters.contains(it)) {
            self.counter(Act::DelObject, 0, counter);
        }
        for set in old.sets.iter().filter(|set| new.sets.iter().all(|new| new.name != set.name)) {
            self.push(Act::DelSet, 0, format!("set {}", set.name), |delete| {
                delete.text(set_encoding::NFTA_SET_TABLE, name);
                delete.text(set_encoding::NFTA_SET_NAME, &set.name);
            });
        }
    }

    /// These elements instead of all that are there.
    pub(super) fn refill(&mut self, set: &NftSet) {
        let name = self.table;
        self.push(Act::DelElement, 0, format!("the elements of set {}", set.name), |all| {
            all.text(set_encoding::NFTA_SET_ELEM_LIST_TABLE, name);
            all.text(set_encoding::NFTA_SET_ELEM_LIST_SET, &set.name);
        });
        self.add(set, None);
    }

    /// Where the next message will stand.
    pub(super) fn next_place(&self) -> usize {
        self.what.len()
    }

    /// Removes the table. It must be there.
    pub(super) fn delete(&mut self) {
        let name = self.table;
        self.push(Act::DelTable, 0, format!("table {name}"), |table| {
            table.text(NFTA_TABLE_NAME, name);
        });
    }

    /// Adds these elements, each with this time-out; none: that of the set. What is there already
    /// stays as it is.
    pub(super) fn add(&mut self, set: &NftSet, timeout: Option<Duration>) {
        self.elements(Act::NewElement, NLM_F_CREATE, set, timeout);
    }

    /// Takes these elements out, whether they are there or not. Deleting one that is not there
    /// would fail (NFT_MSG_DESTROYSETELEM came with Linux 6.3), so they are added before.
    pub(super) fn remove(&mut self, set: &NftSet) {
        self.add(set, None);
        self.elements(Act::DelElement, 0, set, None);
    }

    /// Adds these elements, or gives them their whole time again. An addition alone renews
    /// nothing (seen).
    pub(super) fn renew(&mut self, set: &NftSet, timeout: Option<Duration>) {
        self.remove(set);
        self.add(set, timeout);
    }

    /// To be carried out.
    pub(super) fn seal(mut self) -> SealedBatch {
        let end = bracket(NFNL_MSG_BATCH_END, self.next());
        let sealed = self.seal_dry();
        SealedBatch { bytes: [sealed.bytes, end].concat(), ..sealed }
    }

    /// To be tried and taken back: the kernel does so with a batch that has no end.
    pub(super) fn seal_dry(&mut self) -> SealedBatch {
        // The flags fit: the message was made by `request`.
        let flags = self.last + FLAGS;
        if let Some(low) = self.bytes.get_mut(flags..flags + 2) {
            let old = u16::from_ne_bytes([low[0], low[1]]);
            low.copy_from_slice(&(old | NLM_F_ACK).to_ne_bytes());
        }
        SealedBatch {
            bytes: std::mem::take(&mut self.bytes),
            acknowledged: self.next() - 1,
            what: std::mem::take(&mut self.what),
        }
    }

    fn define(&mut self, set: &NftSet) {
        self.sets += 1;
        let (name, id) = (self.table, self.sets);
        self.push(Act::NewSet, NLM_F_CREATE, format!("set {}", set.name), |new| {
            set_encoding::describe(new, name, set, id);
        });
    }

    fn elements(&mut self, act: Act, flags: u16, set: &NftSet, timeout: Option<Duration>) {
        let table = self.table;
        for chunk in set.elements.chunks(CHUNK) {
            self.push(act, flags, format!("elements of set {}", set.name), |message| {
                set_encoding::list(message, table, set, chunk, timeout);
            });
        }
    }

    fn counter(&mut self, act: Act, flags: u16, name: &str) {
        let table = self.table;
        self.push(act, flags, format!("counter {name}"), |object| {
            object.text(numbers::NFTA_OBJ_TABLE, table);
            object.text(numbers::NFTA_OBJ_NAME, name);
            object.number(numbers::NFTA_OBJ_TYPE, numbers::NFT_OBJECT_COUNTER);
            if act == Act::NewObject {
                object.nest(numbers::NFTA_OBJ_DATA, |_| {});
            }
        });
    }

    /// All chains before all rules: a jump needs its aim, and counting a counter.
    fn fill(&mut self, table: &NftTable) {
        for counter in &table.counters {
            self.counter(Act::NewObject, NLM_F_CREATE, counter);
        }
        for chain in &table.chains {
            self.chain(chain);
        }
        for chain in &table.chains {
            self.rules(chain);
        }
    }

    pub(super) fn clear(&mut self, chain: &NftChain) {
        let name = self.table;
        self.push(Act::DelRule, 0, format!("the rules of chain {}", chain.name), |all| {
            all.text(numbers::NFTA_RULE_TABLE, name);
            all.text(numbers::NFTA_RULE_CHAIN, &chain.name);
        });
    }

    pub(super) fn rules(&mut self, chain: &NftChain) {
        for rule in &chain.rules {
            let name = self.table;
            let what = format!("the rule `{}` of chain {}", line(rule), chain.name);
            self.push(Act::NewRule, NLM_F_CREATE | NLM_F_APPEND, what, |new| {
                new.text(numbers::NFTA_RULE_TABLE, name);
                new.text(numbers::NFTA_RULE_CHAIN, &chain.name);
                new.nest(numbers::NFTA_RULE_EXPRESSIONS, |list| {
                    expression::encode(rule, list);
                });
            });
        }
    }

    fn chain(&mut self, chain: &NftChain) {
        let name = self.table;
        self.push(Act::NewChain, NLM_F_CREATE, chain.in_words(), |new| {
            new.text(NFTA_CHAIN_TABLE, name);
            new.text(NFTA_CHAIN_NAME, &chain.name);
            if let Some(BaseHook { kind, point, priority }) = chain.hook {
                new.nest(NFTA_CHAIN_HOOK, |hook| {
                    hook.number(NFTA_HOOK_HOOKNUM, point as u32);
                    hook.bytes(NFTA_HOOK_PRIORITY, &priority.to_be_bytes());
                });
                new.number(NFTA_CHAIN_POLICY, NF_ACCEPT);
                new.text(NFTA_CHAIN_TYPE, kind.name());
            }
        });
    }

    /// One more message.
    pub(super) fn push(
        &mut self,
        act: Act,
        flags: u16,
        what: String,
        fill: impl FnOnce(&mut Attributes),
    ) {
        let message = request(act, flags, self.next(), fill);
        self.last = self.bytes.len();
        self.bytes.extend(message);
        self.what.push(what);
    }

    fn next(&self) -> u32 {
        u32::try_from(self.what.len()).unwrap_or(u32::MAX)
    }
}
