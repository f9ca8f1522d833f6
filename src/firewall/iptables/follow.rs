//! The installed rules of iptables in a world that changes: links and addresses come and go, and
//! other programs flush tables and sets.

use super::missing::{Missing, missing};
use super::place;
use super::renew;
use super::rules;
use super::sets;
use crate::family::Family;
use crate::firewall::change_listener::ChangeListener;
use crate::firewall::conflicts;
use crate::firewall::entry::everything;
use crate::firewall::environment::Environment;
use crate::firewall::monitor::{Follow, Repair};
use crate::firewall::names::PREFIX;
use crate::firewall::netlink::ipset::{Change, IpsetConnection};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::MOST_INTERFACES;
use crate::firewall::sets::Set;
use crate::firewall::switch::RULE_LIFETIME;
use crate::firewall::switch::Switches;
use crate::firewall::tools::{Ipset, Iptables};
use crate::sync::lock;
use crate::warnings::Complaints;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tracing::warn;

/// The sets in the kernel, while the rules are installed.
#[derive(Debug)]
pub(in crate::firewall) struct Sets {
    pub(in crate::firewall) connection: IpsetConnection,
    pub(in crate::firewall) families: Vec<Family>,
    /// A set that is gone, or full, is told once and not with every answer.
    complained: AtomicBool,
    /// Another program emptied them, and what was learned is gone.
    forgot: AtomicBool,
    pub(in crate::firewall) listener: ChangeListener,
    /// How the switches were set last, and when.
    beaten: Mutex<Option<(Instant, Switches)>>,
}

impl Sets {
    pub(in crate::firewall) fn new(connection: IpsetConnection, families: Vec<Family>) -> Self {
        let (complained, forgot) = (AtomicBool::new(false), AtomicBool::new(false));
        Sets {
            connection,
            families,
            complained,
            forgot,
            listener: ChangeListener::default(),
            beaten: Mutex::default(),
        }
    }

    /// Whether what was learned has to be told again; says so once.
    pub(in crate::firewall) fn forgot(&self) -> bool {
        self.forgot.swap(false, Ordering::Relaxed)
    }

    fn missing(&self, now: &Ruleset) -> Result<Missing, String> {
        let counts = self.connection.counts(PREFIX).map_err(|error| error.to_string())?;
        Ok(missing(now, &self.families, &counts))
    }

    /// Fills again what somebody emptied and makes again what somebody destroyed. Returns what it
    /// was.
    fn repair(&self, now: &Ruleset, ipset: &Ipset) -> Result<Option<String>, String> {
        if self.missing(now)?.is_empty() {
            return Ok(None);
        }
        // An address that was just told to us may still be on its way into its set.
        thread::sleep(Duration::from_millis(50));
        let missing = self.missing(now)?;
        if missing.is_empty() {
            return Ok(None);
        }
        ipset.restore(&missing.text).map_err(|error| error.to_string())?;
        self.switch_again();
        self.forgot.store(true, Ordering::Relaxed);
        self.complained.store(false, Ordering::Relaxed);
        Ok(Some(format!("the sets {} were gone or not whole", missing.names.join(" "))))
    }

    /// What sets the switches of the families that have rules.
    pub(in crate::firewall) fn switched(&self, switches: Switches) -> Vec<Change> {
        self.families.iter().flat_map(|family| switched(*family, switches)).collect()
    }

    /// The switches have just been set so.
    pub(in crate::firewall) fn remember(&self, switches: Switches) {
        *lock(&self.beaten) = Some((Instant::now(), switches));
    }

    /// Sets that were made anew do not wait for the next beat, if there was one just now.
    fn switch_again(&self) {
        let beaten = *lock(&self.beaten);
        if let Some((at, switches)) = beaten
            && at.elapsed() < RULE_LIFETIME / 2
        {
            self.change(self.switched(switches));
        }
    }

    pub(in crate::firewall) fn change(&self, mut changes: Vec<Change>) {
        // A family without rules has no sets.
        changes.retain(|change| self.families.contains(&change.family()));
        if let Err(error) = self.connection.apply(&changes)
            && !self.complained.swap(true, Ordering::Relaxed)
        {
            warn!(
                "cannot change the sets of the firewall: {error} ({changes:?}); if another program \
                 removed them, they are made again within seconds",
            );
        }
    }
}

/// Adapts sets and rules to the changes around them.
pub(in crate::firewall) struct RulesFollower {
    pub(in crate::firewall) sets: Arc<Sets>,
    pub(in crate::firewall) ipset: Ipset,
    pub(in crate::firewall) tools: Vec<(Family, Iptables)>,
    pub(in crate::firewall) now: Arc<Mutex<Ruleset>>,
    /// What will not work beside others' rules.
    pub(in crate::firewall) conflicts: Arc<Mutex<Complaints>>,
}

impl RulesFollower {
    fn now(&self) -> Ruleset {
        lock(&self.now).clone()
    }

    /// Turns the tables, where the rules name what has changed.
    fn follow_rules(&self, before: &Ruleset, after: &Ruleset) {
        for (family, tools) in &self.tools {
            let parts = renew::order(before, after, *family).into_iter();
            for text in parts.filter_map(|part| renew::text(part, before, after, *family)) {
                if let Err(error) = tools.restore(&text) {
                    warn!("cgroups, bridges or other rules that change are not followed: {error}");
                    return;
                }
            }
        }
    }
}

impl Follow for RulesFollower {
    fn environment(&mut self, before: &Environment, after: &Environment) {
        let policy = {
            let mut now = lock(&self.now);
            // The daemon tells more servers, which the monitor does not know.
            let servers = std::mem::take(&mut now.environment.servers);
            now.environment = Environment { servers, ..after.clone() };
            Arc::clone(&now.policy)
        };
        let (count, before_count) = (after.lan.interfaces.len(), before.lan.interfaces.len());
        if count > MOST_INTERFACES.max(before_count) {
            warn!(
                "{count} interfaces are LAN side, and ipset takes at most {MOST_INTERFACES}: those beyond \
                 are not captured"
            );
        }
        let with = |environment: &Environment| Ruleset {
            policy: Arc::clone(&policy),
            environment: environment.clone(),
        };
        let (before, after) = (with(before), with(after));
        self.sets.change(sets::changes(&before, &after, &self.sets.families));
        let are_named =
            |it: &Ruleset| (it.environment.cgroups.clone(), it.environment.datagrams.clone());
        if are_named(&before) != are_named(&after) {
            self.follow_rules(&before, &after);
        }
        let Some(text) = rules::follow(&before, &after) else { return };
        for (_, tools) in self.tools.iter().filter(|(family, _)| *family == Family::V6) {
            if let Err(error) = tools.restore(&text) {
                warn!("link-local name servers are not followed: {error}");
            }
        }
    }

    fn repair(&mut self) -> Repair {
        // With the servers that were learned of since.
        let now = self.now();
        // A rule cannot name a set that is not there: the sets come first. But what of one part
        // cannot be repaired must not keep the others from it.
        let mut repair = Repair::default();
        repair.record(self.sets.repair(&now, &self.ipset));
        for (family, tools) in &self.tools {
            repair.record(place::repair(&now, *family, tools));
        }
        if self.sends_notifications() || !repair.repaired.is_empty() {
            self.sets.listener.notify();
        }
        repair
    }

    fn look_for_conflicts(&mut self) {
        let conflicts = conflicts::all(&self.now(), &self.tools, true);
        lock(&self.conflicts).set(conflicts);
    }

    fn has_conflicts(&self) -> bool {
        lock(&self.conflicts).hold()
    }

    fn sends_notifications(&self) -> bool {
        !self.tools.iter().any(|(_, tools)| tools.is_legacy())
    }

    /// ipset sends no notifications.
    fn is_disturbed(&self) -> bool {
        self.sets.missing(&self.now()).is_ok_and(|missing| !missing.is_empty())
    }
}

/// What sets the switches of one family. What is turned on comes first: while it captures, what it
/// would reject does not matter.
fn switched(family: Family, switches: Switches) -> impl Iterator<Item = Change> {
    let (capture, reject) = switches.of(family).settings();
    let (capture_udp, reject_udp) = switches.of_datagrams(family).settings();
    let settings = [
        (Set::Alive, capture),
        (Set::AliveDatagrams, capture_udp),
        (Set::Rejected, reject),
        (Set::RejectedDatagrams, reject_udp),
    ];
    let set_to = move |wanted: bool| {
        let sets = settings.into_iter().filter(move |(_, on)| *on == Some(wanted));
        sets.flat_map(move |(set, on)| {
            let set = set.name(family);
            everything(family).into_iter().map(move |entry| {
                let set = set.clone();
                match on {
                    Some(true) => Change::Add { set, family, entry, timeout: Some(RULE_LIFETIME) },
                    _ => Change::Delete { set, family, entry },
                }
            })
        })
    };
    set_to(true).chain(set_to(false))
}
