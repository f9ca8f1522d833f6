//! The instructions of one rule for nf_tables' little machine (struct nft_expr_ops).

use super::message::NFTA_LIST_ELEM;
use super::numbers::*;
use super::table::{Is, Protocol};
use super::values::nfproto;
use crate::family::Family;
use crate::firewall::netlink::Attributes;

/// Written one behind the other, as elements of a list.
pub(super) struct Program<'a> {
    list: &'a mut Attributes,
    /// What earlier matches of this rule made sure of.
    family: Option<Family>,
    protocol: Option<Protocol>,
}

impl<'a> Program<'a> {
    pub(super) fn new(list: &'a mut Attributes) -> Self {
        Program { list, family: None, protocol: None }
    }

    /// Goes on only for this family; asked once for a rule.
    pub(super) fn require_family(&mut self, family: Family) {
        if self.family != Some(family) {
            self.family = Some(family);
            self.meta(NFT_META_NFPROTO);
            self.compare(NFT_CMP_EQ, &[nfproto(family)]);
        }
    }

    /// The same for the protocol.
    pub(super) fn require_protocol(&mut self, protocol: Protocol) {
        if self.protocol != Some(protocol) {
            self.protocol = Some(protocol);
            self.meta(NFT_META_L4PROTO);
            self.compare(NFT_CMP_EQ, &[protocol as u8]);
        }
    }

    /// Loads what the kernel knows of the packet (enum nft_meta_keys).
    pub(super) fn meta(&mut self, key: u32) {
        self.push("meta", |meta| {
            meta.number(NFTA_META_DREG, NFT_REG_1);
            meta.number(NFTA_META_KEY, key);
        });
    }

    /// One of the flags that conntrack keeps.
    pub(super) fn conntrack_bit(&mut self, key: u32, bit: u32) {
        self.conntrack(key);
        self.mask(&bit.to_ne_bytes());
        self.compare(NFT_CMP_NEQ, &0u32.to_ne_bytes());
    }

    /// Loads what conntrack knows of its connection (enum nft_ct_keys).
    pub(super) fn conntrack(&mut self, key: u32) {
        self.push("ct", |ct| {
            ct.number(NFTA_CT_DREG, NFT_REG_1);
            ct.number(NFTA_CT_KEY, key);
        });
    }

    /// Loads bytes of a header, which begins at `base`; offset and length in bytes.
    pub(super) fn payload(&mut self, base: u32, offset: u32, length: u32) {
        self.load(base, offset, length, NFT_REG_1);
    }

    /// The same into another register.
    pub(super) fn load(&mut self, base: u32, offset: u32, length: u32, register: u32) {
        self.push("payload", |payload| {
            payload.number(NFTA_PAYLOAD_DREG, register);
            payload.number(NFTA_PAYLOAD_BASE, base);
            payload.number(NFTA_PAYLOAD_OFFSET, offset);
            payload.number(NFTA_PAYLOAD_LEN, length);
        });
    }

    /// Keeps the bits of the mask.
    pub(super) fn mask(&mut self, mask: &[u8]) {
        self.bits(mask, &[0; 16][..mask.len()]);
    }

    /// Keeps the bits of the mask, and then turns those of the other over.
    pub(super) fn bits(&mut self, mask: &[u8], turned: &[u8]) {
        self.push("bitwise", |bitwise| {
            bitwise.number(NFTA_BITWISE_SREG, NFT_REG_1);
            bitwise.number(NFTA_BITWISE_DREG, NFT_REG_1);
            // At most 16.
            bitwise.number(NFTA_BITWISE_LEN, u32::try_from(mask.len()).unwrap_or(u32::MAX));
            bitwise.nest(NFTA_BITWISE_MASK, |data| data.bytes(NFTA_DATA_VALUE, mask));
            bitwise.nest(NFTA_BITWISE_XOR, |data| data.bytes(NFTA_DATA_VALUE, turned));
        });
    }

    /// Goes on only if the register compares so with the value.
    pub(super) fn compare(&mut self, operation: u32, value: &[u8]) {
        self.push("cmp", |cmp| {
            cmp.number(NFTA_CMP_SREG, NFT_REG_1);
            cmp.number(NFTA_CMP_OP, operation);
            cmp.nest(NFTA_CMP_DATA, |data| data.bytes(NFTA_DATA_VALUE, value));
        });
    }

    /// Goes on only if the set has, or has not, what is in the register.
    pub(super) fn lookup(&mut self, set: &str, is: Is) {
        self.push("lookup", |lookup| {
            lookup.text(NFTA_LOOKUP_SET, set);
            lookup.number(NFTA_LOOKUP_SREG, NFT_REG_1);
            if is == Is::NotIn {
                lookup.number(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
            }
        });
    }

    /// Puts the value into a register.
    pub(super) fn immediate(&mut self, register: u32, value: &[u8]) {
        self.push("immediate", |immediate| {
            immediate.number(NFTA_IMMEDIATE_DREG, register);
            immediate.nest(NFTA_IMMEDIATE_DATA, |data| data.bytes(NFTA_DATA_VALUE, value));
        });
    }

    /// Answers with a reset or by ICMP (enum nft_reject_types), and ends.
    pub(super) fn reject(&mut self, kind: u32, code: u32) {
        self.push("reject", |reject| {
            reject.number(NFTA_REJECT_TYPE, kind);
            let code = u8::try_from(code).unwrap_or(u8::MAX);
            reject.bytes(NFTA_REJECT_ICMP_CODE, &[code]);
        });
    }

    /// Ends the rule with a verdict, or with a jump to a chain.
    pub(super) fn verdict(&mut self, code: i32, chain: Option<&str>) {
        self.push("immediate", |immediate| {
            immediate.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
            immediate.nest(NFTA_IMMEDIATE_DATA, |data| {
                data.nest(NFTA_DATA_VERDICT, |verdict| {
                    verdict.bytes(NFTA_VERDICT_CODE, &code.to_be_bytes());
                    if let Some(chain) = chain {
                        verdict.text(NFTA_VERDICT_CHAIN, chain);
                    }
                });
            });
        });
    }

    /// Any other one: its name, and what it is told.
    pub(super) fn push(&mut self, name: &str, fill: impl FnOnce(&mut Attributes)) {
        self.list.nest(NFTA_LIST_ELEM, |element| {
            element.text(NFTA_EXPR_NAME, name);
            element.nest(NFTA_EXPR_DATA, fill);
        });
    }
}
