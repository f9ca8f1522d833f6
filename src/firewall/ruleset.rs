//! Everything that the rules are made of: what the operator wants, and what is observed.

use super::environment::Environment;
use super::environment::lan::Interface;
use super::error::Error;
use super::policy::{Datagrams, Foreign, Policy};
use crate::family::Family;
use std::net::IpAddr;
use std::sync::Arc;

/// What is rendered and applied whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruleset {
    /// What the operator wants.
    pub policy: Arc<Policy>,
    /// What is observed; the installed rules follow it.
    pub environment: Environment,
}

impl Ruleset {
    /// This policy in the network as it is now. `servers`: the addresses of the proxy servers.
    ///
    /// # Errors
    /// As [`Environment::update`].
    pub fn survey(policy: Policy, servers: Vec<IpAddr>) -> Result<Self, Error> {
        let mut environment = Environment { servers, ..Environment::default() };
        environment.update(&policy)?;
        Ok(Ruleset { policy: Arc::new(policy), environment })
    }

    /// What becomes of foreign destinations of this family, with what can be captured here.
    pub(super) fn foreign(&self, family: Family) -> Foreign {
        let foreign = self.policy.foreign(family);
        match foreign {
            Foreign::Redirect { quic, udp } if !self.captures_datagrams(family) => {
                let instead = |way, instead| if way == Datagrams::Proxy { instead } else { way };
                Foreign::Redirect {
                    quic: instead(quic, Datagrams::Reject),
                    udp: instead(udp, self.policy.uncapturable_udp),
                }
            }
            foreign => foreign,
        }
    }

    /// Whether rules that capture foreign datagrams of this family are made: some of them are to be
    /// captured, and nothing here keeps all of them from it.
    pub(super) fn captures_datagrams(&self, family: Family) -> bool {
        self.policy.proxies_datagrams(family) && !self.environment.datagrams.prevents(family)
    }

    /// Whether foreign datagrams of this family that come in by this interface of the LAN side are
    /// captured.
    pub(super) fn captures_datagrams_from(&self, at: &Interface, family: Family) -> bool {
        let is_lost = self.environment.datagrams.loses(&at.name, family);
        self.captures_datagrams(family) && at.captures(family) && !is_lost
    }

    /// Whether this machine's own foreign datagrams of this family are captured by a backend that
    /// takes them in the table mangle, as iptables has to.
    pub(super) fn captures_own_datagrams_in_mangle(&self, family: Family) -> bool {
        let is_dropped = self.environment.datagrams.reverse_path(family).is_some();
        self.captures_datagrams(family) && !is_dropped
    }

    /// Whether UDP that a part of this machine keeps from being captured goes out directly, while
    /// the rest of its family is captured. Not QUIC.
    pub(super) fn lets_uncaptured_go(&self, family: Family) -> bool {
        self.captures_datagrams(family)
            && (self.policy.udp, self.policy.uncapturable_udp)
                == (Datagrams::Proxy, Datagrams::Direct)
    }

    /// The same without counters of what the kernel sends directly.
    pub(super) fn without_counters(mut self) -> Self {
        let policy = Policy { counts_direct: false, ..(*self.policy).clone() };
        self.policy = Arc::new(policy);
        self
    }

    /// As far as iptables can: its targets of this kind (FLOWOFFLOAD) are OpenWrt's own.
    pub(super) fn without_flowtables(mut self) -> Self {
        if self.policy.offloads() {
            self.environment
                .offload
                .without(&"iptables has no flowtables, firewall.backend = \"nftables\" may have");
        }
        self
    }

    /// The same in the place of `old`, whose uplinks it knows: one that has no default route at
    /// this moment, because it is being redialled, is still one.
    ///
    /// # Errors
    /// As [`Environment::update`].
    pub(super) fn succeeding(mut self, old: &Ruleset) -> Result<Self, Error> {
        let are_routers = self.policy.lan.is_some() && old.policy.lan.is_some();
        let (uplinks, known) = (&mut self.environment.lan.uplinks, &old.environment.lan.uplinks);
        if are_routers && !known.is_subset(uplinks) {
            uplinks.extend(known.iter().cloned());
            self.environment.update(&self.policy)?;
        }
        Ok(self)
    }
}
