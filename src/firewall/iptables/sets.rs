//! The address sets in the kernel, as text for `ipset restore`. Pure.
//!
//! Each exists once for a family, since an ipset holds one family only. Format: ipset(8),
//! "restore".

use crate::family::Family;
use crate::firewall::flow::Flow;
use crate::firewall::netlink::ipset::Change;
use crate::firewall::ruleset::Ruleset;
use crate::firewall::sets::{GROWING, OLDER_LIFETIME, Set, SetKind};
use crate::firewall::switch::RULE_LIFETIME;
use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

/// What is run with the text of [`restore`] or [`destroy`] on its standard input.
pub(in crate::firewall) const COMMAND: &str = "ipset restore";

/// A learned set forgets an entry after so many seconds unless it is told otherwise; ours always
/// tell.
const DEFAULT_TIMEOUT: u32 = 300;

/// Entries that a set of prefixes has room for, at least: a reload adds the new list before the old
/// one goes. Only those that are there take memory.
const ROOM: usize = 1 << 20;

/// Creates and fills all sets of these families.
pub(in crate::firewall) fn restore(ruleset: &Ruleset, families: &[Family]) -> String {
    create(&Set::of(ruleset), ruleset, families)
}

/// Creates and fills the sets that the rules of `after` have and those of `before` had not.
pub(in crate::firewall) fn restore_new(
    before: &Ruleset,
    after: &Ruleset,
    families: &[Family],
) -> String {
    let known = Set::of(before);
    let mut new = Set::of(after);
    new.retain(|set| !known.contains(set));
    create(&new, after, families)
}

/// Creates and fills all sets of these families; one of those that are `there` is exchanged for the
/// new one at one moment, also while rules name it.
pub(in crate::firewall) fn exchange(
    ruleset: &Ruleset,
    families: &[Family],
    there: &[String],
) -> String {
    let is_there = |name: &str| there.iter().any(|known| known == name);
    let mut text = String::new();
    if is_there(EXCHANGED) {
        text.push_str(&destroy([EXCHANGED.to_owned()]));
    }
    for family in families {
        for set in Set::of(ruleset) {
            let name = set.name(*family);
            if !is_there(&name) {
                text.push_str(&create(&[set], ruleset, &[*family]));
                continue;
            }
            if let SetKind::Flows { .. } = set.kind() {
                // What the packets have told is true still.
                continue;
            }
            create_as(EXCHANGED, set, ruleset, *family, &mut text);
            // A String takes every write.
            let _ = writeln!(text, "swap {EXCHANGED} {name}\ndestroy {EXCHANGED}");
        }
    }
    text
}

/// The set that is filled beside another one.
const EXCHANGED: &str = "snet-exchanged";

pub(super) fn create(sets: &[Set], ruleset: &Ruleset, families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        for set in sets {
            create_as(&set.name(*family), *set, ruleset, *family, &mut text);
        }
    }
    text
}

fn create_as(name: &str, set: Set, ruleset: &Ruleset, family: Family, text: &mut String) {
    let content = set.content(ruleset, family);
    let (inet, size) = (family.inet(), hash_size(content.len()));
    // A String takes every write.
    let _ = match set.kind() {
        SetKind::Prefixes => writeln!(
            text,
            "create {name} hash:net family {inet} hashsize {size} maxelem {}",
            (2 * content.len()).max(ROOM)
        ),
        SetKind::Switch => writeln!(
            text,
            "create {name} hash:net family {inet} hashsize {size} maxelem {GROWING} \
                     timeout {}",
            RULE_LIFETIME.as_secs()
        ),
        SetKind::Addresses => {
            writeln!(text, "create {name} hash:ip family {inet} hashsize {size} maxelem {GROWING}")
        }
        SetKind::Expiring => writeln!(
            text,
            "create {name} hash:ip family {inet} hashsize {size} maxelem {GROWING} \
                     timeout {DEFAULT_TIMEOUT}"
        ),
        SetKind::AtInterfaces => writeln!(
            text,
            "create {name} hash:net,iface family {inet} hashsize {size} maxelem {GROWING}"
        ),
        SetKind::Flows { timeout } => write!(text, "{}", flows(name, family, timeout)),
    };
    for entry in content {
        let _ = writeln!(text, "add {name} {entry}");
    }
}

/// Creates a set of UDP flows.
pub(super) fn flows(name: &str, family: Family, timeout: Duration) -> String {
    let (inet, size, seconds) = (family.inet(), hash_size(0), timeout.as_secs());
    format!(
        "create {name} hash:ip,port,ip family {inet} hashsize {size} maxelem {GROWING} \
         timeout {seconds}\n"
    )
}

/// Destroys the sets of these names.
pub(in crate::firewall) fn destroy(names: impl IntoIterator<Item = String>) -> String {
    names.into_iter().map(|name| format!("destroy {name}\n")).collect()
}

/// Adds the flows of these families to those that are older than the capture.
pub(in crate::firewall) fn older(
    flows: &[Flow],
    families: impl Iterator<Item = Family> + Clone,
) -> String {
    let mut text = String::new();
    for Flow { source, destination } in flows {
        let family = Family::of(source.ip());
        if families.clone().any(|known| known == family) {
            // A String takes every write.
            let _ = writeln!(
                text,
                "add {} {},udp:{},{} timeout {} -exist",
                Set::Older.name(family),
                source.ip(),
                source.port(),
                destination.ip(),
                OLDER_LIFETIME.as_secs()
            );
        }
    }
    text
}

/// What turns the content of the sets of `before` into that of `after`: all additions, then all
/// deletions, for the reason given in [`renew`](super::renew). An interface becomes LAN side when
/// all is known of it, and ceases to be before that is forgotten. Sets that only one of the two has
/// are left out, and so is what comes with time.
pub(in crate::firewall) fn changes(
    before: &Ruleset,
    after: &Ruleset,
    families: &[Family],
) -> Vec<Change> {
    let (mut added, mut deleted) = (Vec::new(), Vec::new());
    let known = Set::of(before);
    let lasting = |set: &Set| {
        !matches!(set.kind(), SetKind::Switch | SetKind::Expiring | SetKind::Flows { .. })
    };
    let mut sets = Set::of(after);
    sets.retain(|set| known.contains(set) && lasting(set));
    // See above: Lan is the last one that grows, and the first one that shrinks.
    sets.sort_by_key(|set| *set == Set::Lan);
    for set in sets {
        for family in families.iter().copied() {
            let (old, new) = (set.content(before, family), set.content(after, family));
            if old == new {
                continue;
            }
            let (was, is): (HashSet<_>, HashSet<_>) =
                (old.iter().cloned().collect(), new.iter().cloned().collect());
            let name = set.name(family);
            added.extend(new.iter().filter(|entry| !was.contains(entry)).map(|entry| {
                Change::Add { set: name.clone(), family, entry: entry.clone(), timeout: None }
            }));
            deleted.extend(
                old.into_iter().filter(|entry| !is.contains(entry)).map(|entry| Change::Delete {
                    set: name.clone(),
                    family,
                    entry,
                }),
            );
        }
    }
    deleted.reverse();
    [added, deleted].concat()
}

/// Buckets for so many entries: a power of two, as the kernel rounds up to one. With an entry a
/// bucket the table is not rehashed while it is loaded (a bucket takes a dozen entries before
/// that; ip_set_hash_gen.h).
fn hash_size(entries: usize) -> usize {
    entries.next_power_of_two().max(64)
}
