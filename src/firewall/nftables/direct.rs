//! The counters of what the kernel sends directly; the theory is in
//! [`direct`](crate::firewall::direct). Pure.

use super::matches::{BEFORE_FILTERS, BEHIND_ALL, base, chain};
use super::message::Act;
use super::numbers::{
    NFTA_COUNTER_BYTES, NFTA_OBJ_DATA, NFTA_OBJ_NAME, NFTA_OBJ_TABLE, NFTA_OBJ_TYPE,
};
use super::table::{ChainKind, Expression, NftChain, NftRule, NftTable, Point};
use super::{connection::TableConnection, error::Error, numbers};
use crate::family::Family;
use crate::firewall::direct::{COUNTED, DirectCounts, DirectReason};
use crate::firewall::ladder::Destination;
use crate::firewall::names::TABLE;
use crate::firewall::netlink::{Message, NFGENMSG, attribute};
use crate::firewall::ruleset::Ruleset;

/// Where every packet of a connection with a label is counted.
const TALLY: &str = "tally";

/// The verdict of a rung of the ladder that lets pass: the connection gets its label on the way.
pub(super) fn let_go(ruleset: &Ruleset, destination: Destination) -> Expression {
    let reason = match destination {
        Destination::In(set) => DirectReason::of(set),
        Destination::Anywhere => Some(DirectReason::Foreign),
        Destination::Local | Destination::Multicast => None,
    };
    match reason.filter(|_| ruleset.policy.counts_direct) {
        Some(reason) => Expression::Goto(label_chain(reason)),
        None => Expression::Return,
    }
}

fn label_chain(reason: DirectReason) -> String {
    format!("label-{}", reason.word())
}

/// Their names; empty: nothing is counted.
pub(super) fn counters(ruleset: &Ruleset) -> Vec<String> {
    let is_wanted = ruleset.policy.counts_direct;
    kinds().filter(|_| is_wanted).map(|(reason, family, way)| name(reason, family, way)).collect()
}

fn kinds() -> impl Iterator<Item = (DirectReason, Family, &'static str)> {
    Family::ALL.into_iter().flat_map(|family| {
        [UP, DOWN]
            .into_iter()
            .flat_map(move |way| DirectReason::ALL.map(|reason| (reason, family, way)))
    })
}

const UP: &str = "up";
const DOWN: &str = "down";

fn name(reason: DirectReason, family: Family, way: &str) -> String {
    format!("{}-{way}{}", reason.word(), family.digit())
}

pub(super) fn chains(ruleset: &Ruleset) -> Vec<NftChain> {
    if !ruleset.policy.counts_direct {
        return Vec::new();
    }
    let named = |name: String, rules: Vec<NftRule>| NftChain { name, hook: None, rules };
    let labelled =
        || std::iter::once(vec![Expression::Labelled(COUNTED), Expression::Goto(TALLY.into())]);
    let mut chains = vec![
        base("tally-in", ChainKind::Filter, Point::Input, BEHIND_ALL, labelled()),
        base("tally-out", ChainKind::Filter, Point::Postrouting, BEHIND_ALL, labelled()),
    ];
    let label = |reason: DirectReason| {
        let labels = [COUNTED, reason.label()].map(Expression::Label);
        named(label_chain(reason), vec![labels.into()])
    };
    chains.extend(DirectReason::ALL.map(label));
    let sort = |family| {
        let family_is = Expression::Family(family);
        [
            vec![family_is.clone(), Expression::Forth, Expression::Goto(chain(UP, family))],
            vec![family_is, Expression::Goto(chain(DOWN, family))],
        ]
    };
    chains.push(named(TALLY.into(), Family::ALL.into_iter().flat_map(sort).collect()));
    for family in Family::ALL {
        for way in [UP, DOWN] {
            let rule = |reason: DirectReason| {
                let count = Expression::Count(name(reason, family, way));
                vec![Expression::Labelled(reason.label()), count, Expression::Return]
            };
            chains.push(named(chain(way, family), DirectReason::ALL.map(rule).into()));
        }
    }
    chains
}

/// All that counting needs of a kernel.
pub(super) fn trial() -> NftTable {
    let rule = vec![
        Expression::Label(COUNTED),
        Expression::Labelled(COUNTED),
        Expression::Count(UP.into()),
    ];
    let chain = base(TALLY, ChainKind::Filter, Point::Output, BEFORE_FILTERS, [rule].into_iter());
    NftTable {
        name: TABLE,
        sets: vec![super::sets::switch(super::sets::ALIVE, &[])],
        flowtable: None,
        counters: vec![UP.into()],
        chains: vec![chain],
    }
}

/// What the counters say now.
pub(super) fn read(connection: &TableConnection) -> Result<DirectCounts, Error> {
    let ask = |all: &mut crate::firewall::netlink::Attributes| {
        all.text(NFTA_OBJ_TABLE, TABLE);
        all.number(NFTA_OBJ_TYPE, numbers::NFT_OBJECT_COUNTER);
    };
    let found = connection.all(Act::GetObject, ask, counter)?;
    let mut counts = DirectCounts::default();
    for (reason, family, way) in kinds() {
        let name = name(reason, family, way);
        let bytes = found.iter().find(|(known, _)| *known == name).map_or(0, |(_, bytes)| *bytes);
        let of = counts.at(reason, family);
        *(if way == UP { &mut of.up } else { &mut of.down }) = bytes;
    }
    Ok(counts)
}

fn counter(message: Message<'_>) -> Option<(String, u64)> {
    let body = message.body.get(NFGENMSG..)?;
    let name = attribute(body, NFTA_OBJ_NAME)?.split(|byte| *byte == 0).next()?;
    let bytes = attribute(attribute(body, NFTA_OBJ_DATA)?, NFTA_COUNTER_BYTES)?;
    let is_ours = attribute(body, NFTA_OBJ_TABLE)?.strip_suffix(b"\0") == Some(TABLE.as_bytes());
    let bytes = u64::from_be_bytes(*bytes.first_chunk()?);
    is_ours.then(|| (String::from_utf8_lossy(name).into_owned(), bytes))
}
