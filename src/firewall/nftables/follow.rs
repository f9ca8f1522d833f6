//! Follows the network for the table, and puts back one without an owner when another program
//! damaged it.

use super::error::Error;
use super::kernel_table::KernelTable;
use crate::family::Family;
use crate::firewall::change_listener::ChangeListener;
use crate::firewall::conflicts;
use crate::firewall::environment::Environment;
use crate::firewall::iptables::admission::Admission;
use crate::firewall::monitor::{Follow, Repair};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::tools::Iptables;
use crate::sync::lock;
use crate::warnings::{Complaint, Complaints};
use std::sync::{Arc, Mutex};

/// Adapts the table to the changes around it.
pub(super) struct TableFollower {
    pub(super) table: Arc<KernelTable>,
    pub(super) admission: Arc<Admission>,
    pub(super) now: Arc<Mutex<Ruleset>>,
    pub(super) listener: Arc<ChangeListener>,
    /// A change of the network could not be followed, and why: it is said once, and made up for.
    pub(super) behind: Complaint,
    /// What will not work beside others' rules.
    pub(super) conflicts: Arc<Mutex<Complaints>>,
}

impl TableFollower {
    fn tell(&mut self, result: Result<(), Error>) {
        self.behind.set(result.err().map(|error| {
            format!(
                "the nftables table does not follow the network: {error}; it is tried again within \
                 seconds"
            )
        }));
    }
}

impl Follow for TableFollower {
    fn environment(&mut self, _before: &Environment, after: &Environment) {
        let now = {
            let mut now = lock(&self.now);
            // The daemon tells more servers, which the monitor does not know.
            let servers = std::mem::take(&mut now.environment.servers);
            now.environment = Environment { servers, ..after.clone() };
            now.clone()
        };
        let result = self.table.replace(&now, &[]);
        self.tell(result);
        self.admission.follow(&now);
    }

    fn repair(&mut self) -> Repair {
        let attempt = || {
            let intact = self.table.is_intact()?;
            if intact {
                self.table.note_older();
            } else {
                self.table.restore()?;
            }
            // What it missed of the network while it was gone.
            if !intact || self.behind.holds() {
                self.table.replace(&lock(&self.now).clone(), &[])?;
            }
            Ok::<_, Error>((!intact).then(|| "rules of the nftables table were gone".into()))
        };
        let repaired = attempt();
        if repaired.is_ok() {
            self.behind.clear();
        }
        let mut repair = Repair::default();
        repair.record(repaired);
        if !repair.repaired.is_empty() {
            self.listener.notify();
        }
        repair
    }

    fn look_for_conflicts(&mut self) {
        let now = lock(&self.now).clone();
        let conflicts = conflicts::all(&now, &every_tool(), false);
        lock(&self.conflicts).set(conflicts);
    }

    fn has_conflicts(&self) -> bool {
        lock(&self.conflicts).hold()
    }

    /// It does, of every heartbeat and every learned address as well. So the table is checked every
    /// now and then, which costs three questions to the kernel.
    fn sends_notifications(&self) -> bool {
        false
    }

    /// [`repair`](Self::repair) checks everything anyway.
    fn is_disturbed(&self) -> bool {
        false
    }
}

/// iptables is third-party here.
pub(super) fn every_tool() -> Vec<(Family, Iptables)> {
    let tools = |family| Iptables::every(family).into_iter().map(move |tools| (family, tools));
    Family::ALL.into_iter().flat_map(tools).collect()
}
