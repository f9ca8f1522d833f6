//! The installed table: whoever holds the [`KernelTable`] is responsible for it, and keeps it
//! acting by [`beat`](KernelTable::beat).

use super::batch::{Batch, Ownership};
use super::connection::{BatchRefusal, TableConnection};
use super::error::Error;
use super::message::Act;
use super::older;
use super::owner;
use super::owner::{FoundTable, TableOwner};
use super::reconcile::{create_possible, explain, is_about_offload, told_without};
use super::rules;
use super::sets;
use super::table::{NftSet, NftTable};
use super::{batch, numbers};
use crate::family::Family;
use crate::fault::{self, Step};
use crate::firewall::flow::Flow;
use crate::firewall::names::TABLE;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::switch::RULE_LIFETIME;
use crate::firewall::switch::{OnFailure, Switches};
use crate::route::Route;
use crate::sync::lock;
use nix::errno::Errno;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tracing::warn;

/// Time-outs of learned addresses. 0 would mean for ever; more is of no use (and the other
/// backend cannot do more).
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(2_147_483);

/// Of the time that passes between two readings of all older flows, one takes at most one part in
/// so many.
const READING_SHARE: u32 = 50;

/// Flows that are exempt by one transaction.
const MOST_AT_ONCE: usize = 4000;

/// The table while it is installed. Its drop removes it.
#[derive(Debug)]
pub struct KernelTable {
    pub(super) connection: TableConnection,
    state: Mutex<TableState>,
    heartbeat: Mutex<LastBeat>,
    /// A change of a set that fails is told once and not with every answer.
    complained: AtomicBool,
    /// The table was made anew: what was learned is gone.
    forgot: AtomicBool,
    ownership: Ownership,
    /// The drop removes the table.
    installed: AtomicBool,
}

#[derive(Debug)]
pub(super) struct TableState {
    pub(super) table: NftTable,
    /// As the kernel shows it while nobody has touched it.
    found: FoundTable,
    /// The flows that are older than the capture, as the kernel had them last.
    older: Vec<Flow>,
    /// They are not read again before that.
    rest: Option<Instant>,
}

/// What keeps the rules acting. It has a lock of its own: a beat does not wait until long lists are
/// written down, only for the kernel.
#[derive(Debug, Default)]
struct LastBeat {
    /// When somebody last vouched for us, and how the switches were set.
    beaten: Option<(Instant, Switches)>,
    /// No beat counts any more.
    released: bool,
}

impl KernelTable {
    /// Installs these rules in one transaction; a table that a dead process left goes in the same
    /// one, and after an error in it nothing has changed. They do not act before the first
    /// [`beat`](Self::beat); a closed table rejects what is foreign until then.
    ///
    /// # Errors
    /// [`Error::Owned`] if a living process has the table; else what the kernel says.
    pub fn install(owner: TableOwner, ruleset: Ruleset) -> Result<KernelTable, Error> {
        let ownership = match ruleset.policy.on_failure {
            OnFailure::Open => Ownership::Owned,
            OnFailure::Closed => Ownership::Persistent,
        };
        Self::install_as(owner, ruleset, ownership)
    }

    /// As on a kernel without owner tables.
    #[cfg(test)]
    pub(in crate::firewall) fn install_plain(
        owner: TableOwner,
        ruleset: Ruleset,
    ) -> Result<KernelTable, Error> {
        Self::install_as(owner, ruleset, Ownership::Plain)
    }

    fn install_as(
        owner: TableOwner,
        ruleset: Ruleset,
        ownership: Ownership,
    ) -> Result<KernelTable, Error> {
        for family in Family::ALL {
            if let Some(why) = ruleset.policy.uncaptured(family) {
                warn!("{why}");
            }
        }
        let TableOwner { connection } = owner;
        let table = rules::table(&ruleset);
        step(Step::MakeTable)?;
        // Of one that was left; none has been, as a rule.
        let older = older::read(&connection).unwrap_or_default();
        let (table, found) = create_possible(&connection, table, ownership)?;
        let handle = KernelTable {
            connection,
            state: Mutex::new(TableState { table, found, older: Vec::new(), rest: None }),
            heartbeat: Mutex::default(),
            complained: AtomicBool::new(false),
            forgot: AtomicBool::new(false),
            ownership,
            installed: AtomicBool::new(true),
        };
        step(Step::MadeTable)?;
        handle.exempt_flows(&older);
        Ok(handle)
    }

    /// Other rules instead, in one transaction: no packet meets neither the old nor the new ones.
    /// What was learned is kept. These UDP flows are older than what the new rules capture first.
    ///
    /// # Errors
    /// What the kernel says; then the old rules stay.
    pub fn replace(&self, ruleset: &Ruleset, first: &[Flow]) -> Result<(), Error> {
        let mut state = self.state();
        let new = rules::table(ruleset);
        if new == state.table {
            return Ok(());
        }
        let turned = |new: &NftTable, first: &[Flow]| {
            let mut batch = Batch::new(TABLE);
            batch.turn(&state.table, new);
            Family::ALL.iter().for_each(|family| batch.add(&sets::older(first, *family), None));
            batch
        };
        step(Step::ChangeTable)?;
        self.renew_ahead();
        let result = match self.commit(turned(&new, first)) {
            // Rather without them, where their set has no room.
            Err(error @ Error::Refused { .. })
                if !first.is_empty() && !is_about_offload(&error) =>
            {
                self.commit(turned(&new, &[]))
            }
            result => result,
        };
        match result {
            Err(error) if is_about_offload(&error) => {
                let new = new.without_offload();
                self.commit(turned(&new, first))?;
                told_without(&error);
                state.table = new;
            }
            result => {
                result?;
                state.table = new;
            }
        }
        Ok(())
    }

    /// Forgets all that was learned.
    pub fn forget(&self) {
        let mut batch = Batch::new(TABLE);
        sets::all_learned().iter().for_each(|set| batch.refill(set));
        self.attempt(batch);
        self.empty_flowtable();
    }

    /// Puts the rules back after somebody damaged or removed them. What was learned has to be told
    /// again, see [`forgot`](Self::forgot).
    ///
    /// # Errors
    /// As [`install`](Self::install).
    pub fn restore(&self) -> Result<(), Error> {
        let mut state = self.state();
        if let Ok(older) = older::read(&self.connection) {
            state.older = older;
        }
        let older = state.older.clone();
        let table = state.table.clone();
        (state.table, state.found) = create_possible(&self.connection, table, self.ownership)?;
        self.forgot.store(true, Ordering::Relaxed);
        self.complained.store(false, Ordering::Relaxed);
        drop(state);
        self.exempt_flows(&older);
        self.renew_ahead();
        Ok(())
    }

    /// Takes note of the flows that are older than the capture, where another program can remove
    /// the table: those go on as they were beyond that. To be called every few seconds.
    pub(in crate::firewall) fn note_older(&self) {
        let mut state = self.state();
        let begun = Instant::now();
        if state.found.holder().is_some() || state.rest.is_some_and(|rest| begun < rest) {
            return;
        }
        if let Ok(older) = older::read(&self.connection) {
            state.older = older;
        }
        state.rest = Some(Instant::now() + begun.elapsed() * READING_SHARE);
    }

    /// Whether what was learned has to be told again. Says so once.
    pub fn forgot(&self) -> bool {
        self.forgot.swap(false, Ordering::Relaxed)
    }

    /// Adds addresses of upstream servers to those that are never captured.
    pub fn exempt(&self, servers: Vec<IpAddr>) {
        if servers.is_empty() {
            return;
        }
        let servers: Vec<IpAddr> = servers.iter().map(IpAddr::to_canonical).collect();
        let mut batch = Batch::new(TABLE);
        for family in Family::ALL {
            let new = sets::servers(&servers, family);
            batch.add(&new, None);
            // Other rules will take them out again.
            self.state().table.note(&new);
        }
        self.attempt(batch);
    }

    /// These UDP flows are older than the capture: they stay direct. Where the sets have no room,
    /// some of them.
    pub fn exempt_flows(&self, flows: &[Flow]) {
        for family in Family::ALL {
            let older = sets::older(flows, family);
            if self.state().table.sets.iter().any(|set| set.name == older.name) {
                // Each part for itself: one that does not fit is no loss to the others.
                for elements in older.elements.chunks(MOST_AT_ONCE) {
                    let mut batch = Batch::new(TABLE);
                    batch.add(&NftSet { elements: elements.to_vec(), ..older.clone() }, None);
                    self.attempt(batch);
                }
            }
        }
    }

    /// For `ttl`, connections to this address take this route. What was learned of it before is
    /// forgotten. The operator's rules by address are stronger, as in [`crate::route`].
    pub fn learn(&self, address: IpAddr, route: Route, ttl: Duration) {
        let address = address.to_canonical();
        let was_direct = route != Route::Direct && self.offloads_to(address);
        let mut batch = Batch::new(TABLE);
        for other in [Route::Block, Route::Proxy, Route::Direct] {
            let set = sets::learned(address, other);
            if other == route {
                batch.renew(&set, Some(ttl.clamp(LEAST, MOST)));
            } else {
                batch.remove(&set);
            }
        }
        self.attempt(batch);
        if was_direct {
            self.empty_flowtable();
        }
    }

    /// Sets the switches for another [`RULE_LIFETIME`]. To be called, every two seconds, by one who
    /// knows that connections and queries are really captured and served. After
    /// [`release`](Self::release) it does nothing.
    ///
    /// # Errors
    /// What the kernel says; the table may be gone.
    pub fn beat(&self, switches: Switches) -> Result<(), Error> {
        let mut heartbeat = self.heartbeat();
        if heartbeat.released {
            return Ok(());
        }
        self.commit(switched(switches))?;
        heartbeat.beaten = Some((Instant::now(), switches));
        Ok(())
    }

    /// The kernel works on long lists for a while, and no beat comes in between: who was alive just
    /// now has the whole time before him. Who was not gains nothing.
    fn renew_ahead(&self) {
        let heartbeat = self.heartbeat();
        if let Some((beaten, switches)) = heartbeat.beaten
            && beaten.elapsed() < RULE_LIFETIME / 2
            && !heartbeat.released
        {
            self.attempt(switched(switches));
        }
    }

    /// Whether the table is as it was installed. Nobody can change one that has an owner; a plain
    /// one may have been flushed, emptied or made anew. Elements of sets are not looked at.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn is_intact(&self) -> Result<bool, Error> {
        let state = self.state();
        if owner::find(&self.connection, TABLE)? != Some(state.found) {
            return Ok(false);
        }
        let chains = self.connection.count(
            Act::GetChain,
            |_| {},
            |chain| {
                chain.attribute(batch::NFTA_CHAIN_TABLE)
                    == Some(&[TABLE.as_bytes(), b"\0"].concat())
            },
        )?;
        let rules = self.connection.count(
            Act::GetRule,
            |rule| rule.text(numbers::NFTA_RULE_TABLE, TABLE),
            |_| true,
        )?;
        let wanted = state.table.chains.iter().map(|chain| chain.rules.len()).sum::<usize>();
        Ok(chains == state.table.chains.len() && rules == wanted)
    }

    /// The first half of a stop: from now on nothing that begins is captured, and what was
    /// captured goes on until the handle is removed or dropped.
    ///
    /// It is the dead man's switch, thrown by hand. The chains stay, and with them conntrack and
    /// the translation of the addresses of living connections: a machine without a stateful
    /// firewall has no other rules that need them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn release(&self) -> Result<(), Error> {
        let mut heartbeat = self.heartbeat();
        // No beat counts any more, whatever comes of this.
        heartbeat.released = true;
        self.commit(switched(Switches::OFF))
    }

    /// The drop leaves the table, which rejects what is foreign.
    pub fn keep(&self) {
        self.installed.store(false, Ordering::Relaxed);
    }

    /// Removes the table. Connections that were captured may end here; see
    /// [`release`](Self::release).
    ///
    /// # Errors
    /// What the kernel says. It removes a table that has an owner now at the latest.
    #[cfg(test)]
    pub fn remove(self) -> Result<(), Error> {
        self.delete()?;
        self.keep();
        Ok(())
    }

    pub(super) fn delete(&self) -> Result<(), Error> {
        step(Step::RemoveTable)?;
        let mut batch = Batch::new(TABLE);
        batch.delete();
        match self.connection.commit(&batch.seal())? {
            // Another program was faster.
            Err(BatchRefusal { errno: Errno::ENOENT, .. }) | Ok(()) => Ok(()),
            Err(refusal) => Err(explain(&self.connection, refusal)),
        }
    }

    /// A change that is no reason to stop.
    fn attempt(&self, batch: Batch) {
        if let Err(error) = self.commit(batch)
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            warn!("cannot change the sets of the firewall: {error}");
        }
    }

    pub(super) fn commit(&self, batch: Batch) -> Result<(), Error> {
        let result = self.connection.commit(&batch.seal())?;
        result.map_err(|refusal| explain(&self.connection, refusal))
    }

    fn heartbeat(&self) -> MutexGuard<'_, LastBeat> {
        lock(&self.heartbeat)
    }

    /// Each change of it is one assignment: a panic leaves it whole.
    pub(super) fn state(&self) -> MutexGuard<'_, TableState> {
        lock(&self.state)
    }
}

impl Drop for KernelTable {
    fn drop(&mut self) {
        if self.installed.load(Ordering::Relaxed)
            && let Err(error) = self.delete()
        {
            warn!("the rules could not be removed ({error}); run `snet cleanup`");
        }
    }
}

fn step(step: Step) -> Result<(), Error> {
    fault::at(step).map_err(|source| Error::Netlink { source })
}

/// The switches are as they should be, for another [`RULE_LIFETIME`].
fn switched(switches: Switches) -> Batch {
    let mut batch = Batch::new(TABLE);
    let connections = Family::ALL.map(|family| (family, switches.of(family).settings()));
    let datagrams = Family::ALL.map(|family| (family, switches.of_datagrams(family).settings()));
    let captured = |of: [(Family, _); 2]| of.map(|(family, (captured, _))| (family, captured));
    let rejected = |of: [(Family, _); 2]| of.map(|(family, (_, rejected))| (family, rejected));
    for (name, wanted) in [
        (sets::ALIVE, captured(connections)),
        (sets::REJECTED, rejected(connections)),
        (sets::ALIVE_DATAGRAMS, captured(datagrams)),
        (sets::REJECTED_DATAGRAMS, rejected(datagrams)),
    ] {
        let those = |on: bool| {
            let those = wanted.iter().filter(move |(_, wanted)| *wanted == Some(on));
            those.map(|(family, _)| *family).collect::<Vec<Family>>()
        };
        batch.renew(&sets::switch(name, &those(true)), None);
        batch.remove(&sets::switch(name, &those(false)));
    }
    batch
}
