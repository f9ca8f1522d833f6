//! Sets and their elements as the kernel takes them (linux/netfilter/nf_tables.h).

use super::message::NFTA_LIST_ELEM;
use super::numbers::NFTA_DATA_VALUE;
use super::sets::successor;
use super::table::{Element, NftSet, SetKey, Shape};
use super::values::{nfproto, octets};
use crate::family::Family;
use crate::firewall::netlink::Attributes;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) const NFTA_SET_TABLE: u16 = 1;
pub(super) const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_DESC: u16 = 9;
const NFTA_SET_ID: u16 = 10;
const NFTA_SET_TIMEOUT: u16 = 11;
const NFTA_SET_USERDATA: u16 = 13;
const NFTA_SET_DESC_SIZE: u16 = 1;
const NFT_SET_INTERVAL: u32 = 0x4;
const NFT_SET_TIMEOUT: u32 = 0x10;
/// Packets fill it.
const NFT_SET_EVAL: u32 = 0x20;
pub(super) const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
pub(super) const NFTA_SET_ELEM_LIST_SET: u16 = 2;
pub(super) const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
pub(super) const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_TIMEOUT: u16 = 4;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;

/// What a set is, without its elements. `id` names it within its transaction.
pub(super) fn describe(message: &mut Attributes, table: &str, set: &NftSet, id: u32) {
    message.text(NFTA_SET_TABLE, table);
    message.text(NFTA_SET_NAME, &set.name);
    message.number(NFTA_SET_ID, id);
    let (kind, length) = key(set.key);
    message.number(NFTA_SET_KEY_TYPE, kind);
    message.number(NFTA_SET_KEY_LEN, length);
    if set.key == SetKey::Interface {
        message.bytes(NFTA_SET_USERDATA, &in_host_order());
    }
    match set.shape {
        Shape::Intervals => message.number(NFTA_SET_FLAGS, NFT_SET_INTERVAL),
        Shape::Values | Shape::Latch => {}
        Shape::Expiring { size } => {
            message.number(NFTA_SET_FLAGS, NFT_SET_TIMEOUT);
            message.nest(NFTA_SET_DESC, |desc| desc.number(NFTA_SET_DESC_SIZE, size));
        }
        Shape::Switch { timeout } => {
            message.number(NFTA_SET_FLAGS, NFT_SET_TIMEOUT);
            message.millis(NFTA_SET_TIMEOUT, timeout);
        }
        Shape::Flows { size, timeout } => {
            message.number(NFTA_SET_FLAGS, NFT_SET_TIMEOUT | NFT_SET_EVAL);
            message.millis(NFTA_SET_TIMEOUT, timeout);
            message.nest(NFTA_SET_DESC, |desc| desc.number(NFTA_SET_DESC_SIZE, size));
        }
    }
}

/// Names elements of a set.
pub(super) fn list(
    message: &mut Attributes,
    table: &str,
    set: &NftSet,
    elements: &[Element],
    timeout: Option<Duration>,
) {
    message.text(NFTA_SET_ELEM_LIST_TABLE, table);
    message.text(NFTA_SET_ELEM_LIST_SET, &set.name);
    message.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
        elements.iter().for_each(|element| encode(*element, set.shape, timeout, list));
    });
}

/// For nft(8) alone, which without it shows empty names: the keys are in the order of this machine
/// (libnftnl, NFTNL_UDATA_SET_KEYBYTEORDER; a kind, a length, a number).
fn in_host_order() -> Vec<u8> {
    [&[0, 4][..], &1u32.to_ne_bytes()].concat()
}

/// The type of a port, as nft(8) numbers it.
const PORT: u32 = 13;

/// The type, as nft(8) numbers them (the kernel only keeps it), and the bytes of a key.
fn key(of: SetKey) -> (u32, u32) {
    match of {
        SetKey::Family => (2, 1),
        SetKey::Interface => (41, 16),
        SetKey::Address(Family::V4) => (7, 4),
        SetKey::Address(Family::V6) => (8, 16),
        SetKey::Flow(family) => {
            let (address, width) = key(SetKey::Address(family));
            // Six bits for each field; 13 is a port, which takes four bytes here.
            (address << 18 | PORT << 12 | address << 6 | PORT, 2 * (width + 4))
        }
    }
}

/// A range is two elements: its first address, and the one behind its last. A range up to the
/// last address of all has no end.
fn encode(element: Element, shape: Shape, timeout: Option<Duration>, list: &mut Attributes) {
    let mut push = |key: &[u8], flags: u32| {
        list.nest(NFTA_LIST_ELEM, |element| {
            element.nest(NFTA_SET_ELEM_KEY, |data| data.bytes(NFTA_DATA_VALUE, key));
            if flags != 0 {
                element.number(NFTA_SET_ELEM_FLAGS, flags);
            }
            if let Some(timeout) = timeout {
                element.millis(NFTA_SET_ELEM_TIMEOUT, timeout);
            }
        });
    };
    match element {
        Element::Family(family) => push(&[nfproto(family)], 0),
        Element::Interface(name) => push(&name.0, 0),
        Element::Flow(from, to) => {
            let end = |socket: SocketAddr| {
                [octets(socket.ip()), socket.port().to_be_bytes().into(), vec![0; 2]].concat()
            };
            push(&[end(from), end(to)].concat(), 0);
        }
        Element::Range(first, last) => {
            push(&octets(first), 0);
            if shape == Shape::Intervals
                && let Some(end) = successor(last)
            {
                push(&octets(end), NFT_SET_ELEM_INTERVAL_END);
            }
        }
    }
}
