//! What the installed table is asked by those who only look.

use super::direct;
use super::error::Error;
use super::kernel_table::KernelTable;
use super::sets;
use crate::firewall::direct::DirectCounts;
use crate::firewall::names::TABLE;
use crate::firewall::sets::Set;
use std::net::IpAddr;

impl KernelTable {
    /// Whether the kernel's set holds this address now; of a switch, whether it is on.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::firewall) fn holds(&self, set: Set, address: IpAddr) -> Result<bool, Error> {
        self.connection.has_element(TABLE, &sets::single(set, address))
    }

    /// What was sent directly so far, since the table is there.
    ///
    /// # Errors
    /// What the kernel says.
    pub(in crate::firewall) fn direct(&self) -> Result<DirectCounts, Error> {
        direct::read(&self.connection)
    }
}
