//! The flowtable of an installed table, when what was learned takes a destination out of it.

use super::batch::Batch;
use super::kernel_table::KernelTable;
use super::reconcile::told_without;
use super::sets;
use crate::firewall::names::TABLE;
use crate::route::Route;
use std::net::IpAddr;

impl KernelTable {
    /// Whether flows to this address are offloaded, as far as no rule by address says otherwise.
    pub(super) fn offloads_to(&self, address: IpAddr) -> bool {
        let is_learned = |route| {
            let set = sets::learned(address, route);
            // What cannot be asked is taken for true: a flowtable too many is emptied.
            self.connection.has_element(TABLE, &set).unwrap_or(true)
        };
        let is_listed = {
            let state = self.state();
            if state.table.flowtable.is_none() {
                return false;
            }
            state.table.holds(&sets::china(address), address)
        };
        let elsewhere = [Route::Block, Route::Proxy].into_iter().any(is_learned);
        !elsewhere && (is_listed || is_learned(Route::Direct))
    }

    /// What is offloaded takes the long way, and comes back if the rules still say so.
    pub(super) fn empty_flowtable(&self) {
        let mut state = self.state();
        if state.table.flowtable.is_none() {
            return;
        }
        let mut batch = Batch::new(TABLE);
        batch.empty_flowtable(&state.table);
        let Err(error) = self.commit(batch) else { return };
        // An interface may be gone, of which the monitor will tell; until then there is none.
        let without = state.table.without_offload();
        let mut batch = Batch::new(TABLE);
        batch.turn(&state.table, &without);
        if self.commit(batch).is_ok() {
            told_without(&error);
            state.table = without;
        }
    }
}
