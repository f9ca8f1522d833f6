//! The process that a netlink socket belongs to.
//!
//! The kernel knows the owner of a table as the port of a netlink socket. /proc/net/netlink leads
//! from the port to the inode of the socket, and the descriptors in /proc to the process.

use std::fmt;
use std::fs;

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
    pub(super) fn of(port: u32) -> Self {
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
}
