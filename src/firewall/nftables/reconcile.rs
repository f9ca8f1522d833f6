//! From whatever is there to our table, and back to none. Needs no memory.

use super::batch::Batch;
use super::connection::{Connection, Refusal};
use super::error::Error;
use super::owner::{self, Found};
use super::rules::{self, TABLE};
use super::table::Table;
use crate::firewall::PULSE;
use nix::errno::Errno;
use tracing::info;

/// How often a table of the same name may come and go between looking and acting.
const ATTEMPTS: usize = 3;

/// Removes a table that a killed daemon left on a kernel without owner tables. Returns whether
/// there was one.
///
/// # Errors
/// [`Error::Owned`] names the living process that has it; else what the kernel says.
pub fn cleanup() -> Result<bool, Error> {
    let connection = Connection::open()?;
    let Some(found) = owner::find(&connection, TABLE)? else { return Ok(false) };
    if let Some(holder) = found.holder() {
        return Err(Error::Owned { table: TABLE, holder });
    }
    let mut batch = Batch::new(TABLE);
    batch.delete();
    match connection.commit(&batch.seal())? {
        Err(Refusal { errno: Errno::ENOENT, .. }) => Ok(false),
        result => result.map(|()| true).map_err(|refusal| explain(&connection, refusal)),
    }
}

/// Whether there is a table of ours, whoever has it.
///
/// # Errors
/// What the kernel says.
pub fn is_there() -> Result<bool, Error> {
    let connection = Connection::open()?;
    Ok(owner::find(&connection, TABLE)?.is_some())
}

/// Whether this kernel, and our rights, suffice for all that a table of ours may hold: the
/// transaction is tried and taken back.
///
/// # Errors
/// [`Error::NotPermitted`], [`Error::Absent`], [`Error::Unsupported`] with the first thing that
/// is missing.
pub fn available() -> Result<(), Error> {
    const PROBE: &str = "snet-probe";
    let connection = Connection::open()?;
    let table = Table { name: PROBE, ..rules::everything() };
    let mut batch = Batch::new(PROBE);
    batch.create(&table, false);
    connection.commit(&batch.seal_dry())?.map_err(unsupported)
}

/// Makes the table, in the place of one that nobody living has. With an owner if it is wanted and
/// the kernel can, else without.
pub(super) fn create(
    connection: &Connection,
    table: &Table,
    mut owned: bool,
) -> Result<Found, Error> {
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
        batch.create(table, owned);
        let Err(refusal) = connection.commit(&batch.seal())? else {
            let gone =
                || Error::Refused { what: format!("table {TABLE}"), source: Errno::ENOENT.into() };
            return owner::find(connection, TABLE)?.ok_or_else(gone);
        };
        match refusal.errno {
            Errno::EINVAL | Errno::EOPNOTSUPP if owned && refusal.place == place => {
                info!(
                    "this kernel has no tables with an owner (Linux 5.12): should snet be killed, \
                     its rules cease to act after {} s, and `snet cleanup` removes them",
                    PULSE.as_secs()
                );
                owned = false;
            }
            // Between our look and our act somebody made it, or removed it.
            Errno::EEXIST | Errno::ENOENT | Errno::EPERM
                if refusal.place > 0 && refusal.place <= place && attempt < ATTEMPTS =>
            {
                attempt += 1;
            }
            _ => return Err(unsupported(refusal)),
        }
    }
}

/// Why something new was refused.
fn unsupported(refusal: Refusal) -> Error {
    let Refusal { place, what, errno } = refusal;
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
pub(super) fn explain(connection: &Connection, refusal: Refusal) -> Error {
    let Refusal { what, errno, .. } = refusal;
    if errno != Errno::EPERM {
        return Error::Refused { what, source: errno.into() };
    }
    match owner::find(connection, TABLE).ok().flatten().and_then(|found| found.holder()) {
        Some(holder) => Error::Owned { table: TABLE, holder },
        None => Error::NotPermitted,
    }
}
