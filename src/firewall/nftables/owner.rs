//! Whose the table is: ours, another living process's, or nobody's any more.

use super::batch::{
    NFT_TABLE_F_OWNER, NFTA_TABLE_FLAGS, NFTA_TABLE_HANDLE, NFTA_TABLE_NAME, NFTA_TABLE_OWNER,
};
use super::connection::TableConnection;
use super::error::Error;
use super::holder::Holder;
use super::message::Act;

/// The socket that the table will belong to: while it is open the table is there, whatever else
/// becomes of this process; when it closes the kernel removes the table.
///
/// Open it first of all descriptors. A process that ends closes them from the last to the first
/// (exit_files defers, task_work_run is a stack; seen): so relayed connections are reset while
/// their addresses are still translated, and their programs are told.
#[derive(Debug)]
pub struct TableOwner {
    pub(super) connection: TableConnection,
}

impl TableOwner {
    /// Opens the socket; nothing is installed.
    ///
    /// # Errors
    /// [`Error::Absent`] or [`Error::Netlink`].
    pub fn open() -> Result<TableOwner, Error> {
        Ok(TableOwner { connection: TableConnection::open()? })
    }
}

/// A table that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FoundTable {
    /// The kernel gives each table another one.
    pub(super) handle: u64,
    pub(super) flags: u32,
    owner: Option<u32>,
}

/// Looks for the table of this name.
pub(super) fn find(connection: &TableConnection, name: &str) -> Result<Option<FoundTable>, Error> {
    connection.get(
        Act::GetTable,
        |table| table.text(NFTA_TABLE_NAME, name),
        |table| FoundTable {
            handle: table
                .attribute(NFTA_TABLE_HANDLE)
                .and_then(|value| value.first_chunk())
                .map_or(0, |value| u64::from_be_bytes(*value)),
            flags: table.number(NFTA_TABLE_FLAGS).unwrap_or(0),
            owner: table.number(NFTA_TABLE_OWNER),
        },
    )
}

impl FoundTable {
    pub(super) fn belongs_to(&self, port: u32) -> bool {
        self.flags & NFT_TABLE_F_OWNER != 0 && self.owner == Some(port)
    }

    /// The program that has it, if one has.
    pub(super) fn holder(&self) -> Option<Holder> {
        (self.flags & NFT_TABLE_F_OWNER != 0).then(|| Holder::of(self.owner.unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_sockets() {
        let connection = TableConnection::open().unwrap();
        let holder = Holder::of(connection.port());
        let Holder::Process { pid, .. } = holder else { panic!("{holder}") };
        assert_eq!(pid, std::process::id());
    }
}
