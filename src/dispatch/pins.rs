//! The members that the operator has pinned, across groups and generations.
//!
//! A pin goes by names, of the group and of the member: it holds over a reload, and waits for a
//! member that is gone for a while, as servers of a subscription are.

use super::{Dispatcher, Group, Upstream};
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::warn;

/// Why nothing is pinned.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// There is no such group.
    #[error("found the group {found:?}; accepted: {}", .accepted.join(", "))]
    NoGroup {
        /// What was named.
        found: String,
        /// What there is.
        accepted: Vec<String>,
    },
    /// It has no such member.
    #[error("found {found:?}, which is no member of {group}; accepted: {}", .accepted.join(", "))]
    NoMember {
        /// What was named.
        found: String,
        /// The group.
        group: String,
        /// What there is.
        accepted: Vec<String>,
    },
}

impl Dispatcher {
    /// Pins a member of a group; `None`: the policy decides again.
    ///
    /// # Errors
    /// There is no such group, or member.
    pub fn pin(&self, group: &str, member: Option<&str>) -> Result<(), PinError> {
        let Some(found) = self.groups.iter().find(|it| it.shown_name() == group) else {
            let accepted = self.groups.iter().map(|it| it.shown_name().to_owned()).collect();
            return Err(PinError::NoGroup { found: group.into(), accepted });
        };
        let Some(member) = member else {
            found.pin(None);
            return Ok(());
        };
        match found.members().iter().find(|it| it.name() == member) {
            Some(upstream) => {
                found.pin(Some(Arc::clone(upstream.label())));
                Ok(())
            }
            None => {
                let accepted = found.members().iter().map(|it| it.name().to_owned()).collect();
                let (found, group) = (member.into(), group.into());
                Err(PinError::NoMember { found, group, accepted })
            }
        }
    }

    /// The members of the group that is shown by this name.
    pub fn members_of(&self, group: &str) -> Option<&[Arc<Upstream>]> {
        self.groups.iter().find(|it| it.shown_name() == group).map(Group::members)
    }

    /// What is pinned, by the group's name.
    pub fn pins(&self) -> BTreeMap<String, String> {
        let pinned = |it: &Group| Some((it.shown_name().to_owned(), it.pinned()?.to_string()));
        self.groups.iter().filter_map(pinned).collect()
    }

    /// Takes over what was pinned. Groups that are gone take their pins along; of a member that is
    /// gone the log tells.
    pub fn take_over_pins(&self, pins: &BTreeMap<String, String>) {
        for group in &self.groups {
            let Some(member) = pins.get(group.shown_name()) else { continue };
            let name = group.shown_name();
            if !group.members().iter().any(|it| it.name() == member) {
                warn!(
                    "group {name}: the pinned {member} is no member now, and others carry until \
                     it is (`snet use {name}` ends the pin)"
                );
            }
            group.pin(Some(member.as_str().into()));
        }
    }
}
