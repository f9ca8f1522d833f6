//! Who has the table: ourselves, another living process, or nobody any more.
//!
//! The kernel knows the owner of a table as the port of a netlink socket. /proc/net/netlink leads
//! from the port to the inode of the socket, and the descriptors in /proc to the process.

use super::batch::{
    NFT_TABLE_F_OWNER, NFTA_TABLE_FLAGS, NFTA_TABLE_HANDLE, NFTA_TABLE_NAME, NFTA_TABLE_OWNER,
};
use super::connection::Connection;
use super::error::Error;
use super::message::Act;
use std::fmt;
use std::fs;

/// The socket that the table will belong to: while it is open the table is there, whatever else
/// becomes of this process; when it closes the kernel removes the table.
///
/// Open it first of all descriptors. A process that ends closes them from the last to the first
/// (exit_files defers, task_work_run is a stack; seen): so relayed connections are reset while
/// their addresses are still translated, and their programs are told.
#[derive(Debug)]
pub struct Owner {
    pub(super) connection: Connection,
}

impl Owner {
    /// Opens the socket; nothing is installed.
    ///
    /// # Errors
    /// [`Error::Absent`] or [`Error::Netlink`].
    pub fn open() -> Result<Owner, Error> {
        Ok(Owner { connection: Connection::open()? })
    }
}

/// A table that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The kernel gives each table another one.
    pub(super) handle: u64,
    pub(super) flags: u32,
    owner: Option<u32>,
}

/// Looks for the table of this name.
pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<Found>, Error> {
    connection.get(
        Act::GetTable,
        |table| table.text(NFTA_TABLE_NAME, name),
        |table| Found {
            handle: table
                .attribute(NFTA_TABLE_HANDLE)
                .and_then(|value| value.first_chunk())
                .map_or(0, |value| u64::from_be_bytes(*value)),
            flags: table.number(NFTA_TABLE_FLAGS).unwrap_or(0),
            owner: table.number(NFTA_TABLE_OWNER),
        },
    )
}

impl Found {
    pub(super) fn belongs_to(&self, port: u32) -> bool {
        self.flags & NFT_TABLE_F_OWNER != 0 && self.owner == Some(port)
    }

    /// Who has it, if somebody has.
    pub(super) fn holder(&self) -> Option<Holder> {
        (self.flags & NFT_TABLE_F_OWNER != 0).then(|| Holder::of(self.owner.unwrap_or(0)))
    }
}

/// The process that a table belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// One that we can see.
    Process {
        /// Its process id.
        pid: u32,
        /// Its name in /proc.
        name: String,
    },
    /// One in another pid namespace, or of another user.
    Hidden {
        /// The port of its netlink socket, mostly the process id, there.
        port: u32,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Process { pid, name } => write!(f, "process {pid} ({name})"),
            Holder::Hidden { port } => write!(f, "a process that cannot be seen here, {port}"),
        }
    }
}

impl Holder {
    fn of(port: u32) -> Self {
        let sockets = fs::read_to_string("/proc/net/netlink").unwrap_or_default();
        let process = inode(&sockets, port).and_then(process_with);
        process.map_or(Holder::Hidden { port }, |pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Holder::Process { pid, name: name.trim_end().to_string() }
        })
    }
}

/// The inode of the netfilter socket with this port. Columns: sk Eth Pid Groups Rmem Wmem Dump
/// Locks Drops Inode; "Eth" is the protocol, "Pid" the port (netlink_native_seq_show).
fn inode(sockets: &str, port: u32) -> Option<&str> {
    const NETLINK_NETFILTER: &str = "12";
    let port = port.to_string();
    let mut rows = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row =
        rows.find(|row| row.get(1) == Some(&NETLINK_NETFILTER) && row.get(2) == Some(&&*port))?;
    row.last().copied()
}

/// The process with a descriptor of this socket.
fn process_with(inode: &str) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.any(|target| target.as_os_str() == wanted.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_a_port() {
        let sockets = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
            0000000000000000 0   4711       00000000 0        0        0     2        0        100\n\
            0000000000000000 12  4711       00000000 0        0        0     2        0        101\n\
            0000000000000000 12  4294963199 00000000 0        0        0     2        0        102\n";
        assert_eq!(inode(sockets, 4711), Some("101"));
        assert_eq!(inode(sockets, 4_294_963_199), Some("102"));
        assert_eq!(inode(sockets, 47), None);
        assert_eq!(inode("", 47), None);
    }

    #[test]
    fn a_process_is_known_by_its_sockets() {
        let connection = Connection::open().unwrap();
        let holder = Holder::of(connection.port());
        let Holder::Process { pid, .. } = holder else { panic!("{holder}") };
        assert_eq!(pid, std::process::id());
    }
}
