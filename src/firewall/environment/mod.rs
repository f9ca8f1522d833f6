//! What is observed of this machine and its network, as far as the rules depend on it.

pub(super) mod datagrams;
pub(super) mod default_route;
pub(super) mod lan;
pub(super) mod offload;

use super::error::Error;
use super::netlink::route::survey;
use super::network::Network;
use super::policy::Policy;
use super::third_party::ThirdParty;
use crate::exempt_programs::Cgroup;
use crate::ipset::IpSet;
use datagrams::DatagramLimits;
use lan::LanSide;
use offload::OffloadLimits;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use tracing::warn;

/// What the kernel and the daemon tell, at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The addresses of the proxy servers known so far. The daemon tells them.
    pub servers: Vec<IpAddr>,
    /// The prefixes on the links of this machine. They are never captured, whatever the policy
    /// says.
    pub connected: IpSet,
    /// The links whose own link-local address is listened on, and that address. What this machine
    /// asks a name server of that link by its link-local address leads here.
    pub link_local: Vec<(String, Ipv6Addr)>,
    /// The cgroups of exempt programs.
    pub cgroups: Vec<Cgroup>,
    /// Router mode: the LAN side.
    pub lan: LanSide,
    /// What keeps UDP from being captured.
    pub datagrams: DatagramLimits,
    /// Where forwarded flows may be offloaded.
    pub offload: OffloadLimits,
}

impl Environment {
    /// Reads from the kernel what the rules depend on: which cgroups there are, the prefixes on the
    /// links of this machine, and in router mode the interfaces of the LAN side. In local mode a
    /// failure costs no more than an exemption, and is a warning.
    ///
    /// # Errors
    /// In router mode: what the kernel says, or nothing tells the uplink from the LAN.
    pub(super) fn update(&mut self, policy: &Policy) -> Result<(), Error> {
        if policy.lan.is_some() {
            self.lan.third_party.get_or_insert_with(|| Arc::new(ThirdParty::read()));
        }
        self.cgroups = policy.exempt.observe();
        let surveyed = match survey() {
            Ok(network) => self
                .observe(policy, &network)
                .map(|()| self.offload.observe(policy, &self.lan, &network)),
            Err(source) if policy.lan.is_some() => Err(Error::Survey { source }),
            Err(error) => {
                warn!(
                    "cannot read the interfaces' addresses ({error}); on-link hosts with public \
                     addresses are not exempted"
                );
                Ok(())
            }
        };
        self.datagrams.observe(policy, &self.lan);
        surveyed
    }

    /// [`update`](Self::update) reads third-party rules anew.
    pub(super) fn forget_third_party(&mut self) {
        self.lan.third_party = None;
        self.datagrams.forget_third_party();
    }

    fn observe(&mut self, policy: &Policy, network: &Network) -> Result<(), Error> {
        let links = network.links.iter().filter(|link| !link.is_loopback());
        self.connected = links.flat_map(|link| network.on_link(link)).collect();
        if policy.listens_link_local() {
            self.link_local = network.link_local();
        }
        match &policy.lan {
            Some(wanted) => self.lan.observe(wanted, policy, network),
            None => Ok(()),
        }
    }

    /// Further addresses of proxy servers.
    pub(super) fn add_servers(&mut self, servers: &[IpAddr]) {
        let new = servers.iter().filter(|server| !self.servers.contains(server));
        let new: Vec<IpAddr> = new.copied().collect();
        self.servers.extend(new);
    }

    /// The cgroups that a rule can name.
    pub(super) fn present_cgroups(&self) -> impl Iterator<Item = (&Cgroup, u64)> {
        self.cgroups.iter().filter_map(|cgroup| Some((cgroup, cgroup.id?)))
    }

    /// Those that no rule can name yet, in words.
    pub(super) fn absent_cgroups(&self) -> impl Iterator<Item = String> {
        let absent = self.cgroups.iter().filter(|cgroup| cgroup.id.is_none());
        absent.map(|cgroup| {
            format!(
                "there is no cgroup {} at present: nothing is left alone for it until there is",
                cgroup.path
            )
        })
    }
}
