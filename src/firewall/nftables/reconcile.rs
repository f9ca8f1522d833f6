//! From whatever is there to our table, and back to none. Needs no memory.

use super::batch;
use super::batch::{Batch, Ownership};
use super::connection::{BatchRefusal, TableConnection};
use super::direct;
use super::error::Error;
use super::filter;
use super::matches;
use super::message::Act;
use super::offload;
use super::owner;
use super::owner::FoundTable;
use super::rules;
use super::sets;
use super::table::{NftTable, Shape};
use crate::family::Family;
use crate::firewall::names::TABLE;
use crate::firewall::policy::Datagrams;
use crate::firewall::switch::RULE_LIFETIME;
use nix::errno::Errno;
use tracing::{info, warn};

/// How often a table of the same name may come and go between looking and acting.
const ATTEMPTS: usize = 3;

/// Removes a table that a killed daemon left on a kernel without owner tables. Returns whether
/// there was one.
///
/// # Errors
/// [`Error::Owned`] names the living process that has it; else what the kernel says.
pub fn cleanup() -> Result<bool, Error> {
    let connection = TableConnection::open()?;
    let Some(found) = owner::find(&connection, TABLE)? else { return Ok(false) };
    if let Some(holder) = found.holder() {
        return Err(Error::Owned { table: TABLE, holder });
    }
    let mut batch = Batch::new(TABLE);
    batch.delete();
    match connection.commit(&batch.seal())? {
        Err(BatchRefusal { errno: Errno::ENOENT, .. }) => Ok(false),
        result => result.map(|()| true).map_err(|refusal| explain(&connection, refusal)),
    }
}

/// Whether there is a table of ours, whoever has it.
///
/// # Errors
/// What the kernel says.
pub fn is_there() -> Result<bool, Error> {
    let connection = TableConnection::open()?;
    Ok(owner::find(&connection, TABLE)?.is_some())
}

/// Whether this kernel, and our rights, suffice for all that a table of ours may hold: the
/// transaction is tried and taken back.
///
/// # Errors
/// [`Error::NotPermitted`], [`Error::Absent`], [`Error::Unsupported`] with the first thing that
/// is missing.
pub fn available() -> Result<(), Error> {
    attempted(&rules::everything(Datagrams::Direct))
}

/// Whether this kernel suffices for the capture of UDP as well.
///
/// # Errors
/// As [`available`]; [`Error::Unsupported`] without the module nft_tproxy.
pub(super) fn datagrams_available() -> Result<(), Error> {
    attempted(&rules::everything(Datagrams::Proxy))
}

/// Whether this kernel suffices for offloading as well.
///
/// # Errors
/// As [`available`]; [`Error::Unsupported`] without flowtables.
pub(super) fn offload_available() -> Result<(), Error> {
    attempted(&offload::trial())
}

/// Whether this kernel can count what it sends directly.
///
/// # Errors
/// As [`available`]; [`Error::Unsupported`] without labels of connections.
pub(super) fn counters_available() -> Result<(), Error> {
    attempted(&direct::trial())
}

fn attempted(everything: &NftTable) -> Result<(), Error> {
    const PROBE: &str = "snet-probe";
    let connection = TableConnection::open()?;
    let table = NftTable { name: PROBE, ..everything.clone() };
    let mut batch = Batch::new(PROBE);
    batch.create(&table, Ownership::Plain);
    batch.add(&sets::switch(sets::ALIVE, &Family::ALL), None);
    connection.commit(&batch.seal_dry())?.map_err(unsupported)
}

/// Makes the table, in the place of one that nobody living has, in one transaction: what was closed
/// stays closed. With the ownership that is wanted if the kernel can, else without.
///
/// The rules do not act before the first beat, which is a transaction of its own: some kernels let
/// rules act a moment before the sets of the same transaction hold anything (seen on 6.18: a
/// domestic connection was captured at one start in two hundred). A closed table rejects from its
/// beginning, so until it is settled it drops instead: programs send their first packet again.
pub(super) fn create(
    connection: &TableConnection,
    table: &NftTable,
    mut ownership: Ownership,
) -> Result<FoundTable, Error> {
    let mut attempt = 1;
    loop {
        let found = owner::find(connection, TABLE)?;
        if let Some(found) = found {
            // One of our own port is a former one of ours.
            match found.holder() {
                Some(holder) if !found.belongs_to(connection.port()) => {
                    return Err(Error::Owned { table: TABLE, holder });
                }
                Some(_) => {}
                None => info!("a table of an earlier run was left"),
            }
        }
        let mut batch = Batch::new(TABLE);
        if found.is_some() {
            batch.delete();
        }
        let place = batch.next_place();
        batch.create(table, ownership);
        let Err(refusal) = connection.commit(&batch.seal())? else {
            let leaves = found.is_some() && ownership != Ownership::Owned;
            settle(connection, table, leaves)?;
            let gone =
                || Error::Refused { what: format!("table {TABLE}"), source: Errno::ENOENT.into() };
            return owner::find(connection, TABLE)?.ok_or_else(gone);
        };
        match refusal.errno {
            Errno::EINVAL | Errno::EOPNOTSUPP
                if ownership != Ownership::Plain && refusal.place == place =>
            {
                match ownership {
                    Ownership::Persistent => info!(
                        "this kernel has no tables that outlive their owner (Linux 6.9): others can \
                         flush snet's table; it is put back within seconds"
                    ),
                    _ => info!(
                        "this kernel has no tables with an owner (Linux 5.12): should snet be killed, \
                         its rules cease to act after {} s, and `snet cleanup` removes them",
                        RULE_LIFETIME.as_secs()
                    ),
                }
                ownership = Ownership::Plain;
            }
            // Between our look and our act another program made it, or removed it.
            Errno::EEXIST | Errno::ENOENT | Errno::EPERM
                if refusal.place > 0 && refusal.place <= place && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            _ => return Err(unsupported(refusal)),
        }
    }
}

/// Makes the table; without a flowtable if the kernel refuses that one, for instance because an
/// interface has gone since the network was looked at.
pub(super) fn create_possible(
    connection: &TableConnection,
    table: NftTable,
    ownership: Ownership,
) -> Result<(NftTable, FoundTable), Error> {
    match create(connection, &table, ownership) {
        Err(error) if is_about_offload(&error) => {
            let table = table.without_offload();
            let found = create(connection, &table, ownership)?;
            told_without(&error);
            Ok((table, found))
        }
        result => Ok((table, result?)),
    }
}

/// Whether the kernel refused the flowtable, or a rule that names it.
pub(super) fn is_about_offload(error: &Error) -> bool {
    match error {
        Error::Unsupported { what, .. } | Error::Refused { what, .. } => offload::concerns(what),
        _ => false,
    }
}

pub(super) fn told_without(error: &Error) {
    warn!(
        "firewall.offload: forwarded domestic flows are not offloaded until the network changes: \
         {error}"
    );
}

/// After an error nothing is left, unless it stands in the place of one that may have been closed.
fn settle(connection: &TableConnection, table: &NftTable, leaves: bool) -> Result<(), Error> {
    let latches = table.sets.iter().filter(|set| set.shape == Shape::Latch);
    let mut batch = Batch::new(TABLE);
    let empty = batch.next_place();
    latches.for_each(|set| batch.add(set, None));
    if batch.next_place() == empty {
        return Ok(());
    }
    let settled = connection.commit(&batch.seal()).and_then(|result| result.map_err(unsupported));
    if settled.is_err() && !leaves {
        let mut batch = Batch::new(TABLE);
        batch.delete();
        // The first error is the one to tell.
        let _ = connection.commit(&batch.seal());
    }
    settled
}

/// Whether an earlier run, which is dead, left the network closed.
///
/// # Errors
/// What the kernel says.
pub(in crate::firewall) fn is_closed() -> Result<bool, Error> {
    let connection = TableConnection::open()?;
    let closed = connection.count(
        Act::GetChain,
        |_| {},
        |chain| {
            let is = |number, text: &str| {
                chain.attribute(number) == Some(&[text.as_bytes(), b"\0"].concat())
            };
            is(batch::NFTA_CHAIN_TABLE, TABLE)
                && Family::ALL.iter().any(|family| {
                    is(batch::NFTA_CHAIN_NAME, &matches::chain(filter::CLOSED, *family))
                })
        },
    )?;
    Ok(closed > 0)
}

/// Why something new was refused.
fn unsupported(refusal: BatchRefusal) -> Error {
    let BatchRefusal { place, what, errno } = refusal;
    let source = errno.into();
    match errno {
        // Of the batch itself: no rights, no such subsystem.
        Errno::EPERM if place == 0 => Error::NotPermitted,
        Errno::EOPNOTSUPP if place == 0 => Error::Absent { source },
        // No such family, kind of chain or expression, and no module that has it.
        Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EINVAL if place > 0 => {
            Error::Unsupported { what, source }
        }
        _ => Error::Refused { what, source },
    }
}

/// Why a change of what is there was refused.
pub(super) fn explain(connection: &TableConnection, refusal: BatchRefusal) -> Error {
    let BatchRefusal { what, errno, .. } = refusal;
    if errno != Errno::EPERM {
        return Error::Refused { what, source: errno.into() };
    }
    match owner::find(connection, TABLE).ok().flatten().and_then(|found| found.holder()) {
        Some(holder) => Error::Owned { table: TABLE, holder },
        None => Error::NotPermitted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a kernel says that was built without a piece, in the place of the message that needs
    /// it.
    #[test]
    fn a_kernel_that_lacks_a_piece_is_told_which() {
        for (place, what, errno, told) in [
            (0, "the batch", Errno::EPERM, "CAP_NET_ADMIN"),
            (0, "the batch", Errno::EOPNOTSUPP, "no nf_tables for the family inet"),
            (1, "table snet", Errno::EAFNOSUPPORT, "cannot do table snet"),
            (4, "set alive", Errno::EOPNOTSUPP, "cannot do set alive"),
            (
                4,
                "set alive",
                Errno::EOPNOTSUPP,
                "`modprobe -a nf_tables`; on OpenWrt: kmod-nft-core;",
            ),
            (9, "chain nat (type nat, family inet)", Errno::ENOENT, "cannot do chain nat"),
            (
                9,
                "chain nat (type nat, family inet)",
                Errno::ENOENT,
                "kmod-nft-nat; there since Linux 5.2;",
            ),
            (30, "the rule `udp tproxy ip to [::1]:1`", Errno::ENOENT, "OpenWrt: kmod-nft-tproxy;"),
            (
                31,
                "the rule `fib daddr type local ct zone set 5`",
                Errno::ENOENT,
                "-a nft_fib_inet nft_ct`",
            ),
            (
                32,
                "the rule `ct state new reject`",
                Errno::ENOENT,
                "-a nft_reject_inet nft_ct`; on OpenWrt: kmod-nft-core;",
            ),
            (33, "the rule `return` of chain reject6", Errno::ENOENT, "-a nf_tables`"),
        ] {
            let error = unsupported(BatchRefusal { place, what: what.into(), errno }).to_string();
            assert!(error.contains(told) && !error.contains('\n'), "{errno} at {place}: {error}");
        }
        // No piece is missing: no advice to load modules.
        let full = BatchRefusal { place: 4, what: "set alive".into(), errno: Errno::ENOMEM };
        assert!(matches!(unsupported(full), Error::Refused { .. }));
    }
}
