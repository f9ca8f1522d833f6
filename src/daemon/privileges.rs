//! Gives up every right that the daemon does not need, for itself and for the tools it starts.
//!
//! Capabilities belong to a thread, and new threads copy them (capabilities(7)): this runs in plain
//! `main`, before the runtime. What stays:
//!
//! | capability | when |
//! |---|---|
//! | CAP_NET_ADMIN | always: SO_MARK, sets, rules |
//! | CAP_NET_RAW | only with iptables and ipset: the `set` match asks over a raw socket |
//! | CAP_NET_BIND_SERVICE | only for a port below 1024: of a listener, or of foreign UDP |
//! | CAP_SETUID, CAP_SETGID, CAP_KILL | root with a plugin, or one to come: it is another user |
//!
//! Nothing is gained: what this process was not given it does not get. The user stays the same, so
//! the file with the passwords may belong to root alone and can be read again by a reload.
//!
//! The tools need the same rights. An ordinary user's children get them by the ambient set. Root's
//! children get the whole bounding set at exec(2): so that is cut too, and where it cannot be
//! (without CAP_SETPCAP), no_new_privs keeps them from more than we have.
//!
//! Secrets do not reach a core dump: the process is not dumpable (PR_SET_DUMPABLE(2const)), for
//! the limit alone is not asked where the kernel pipes dumps to a program (core(5)). The price:
//! only root attaches a debugger, and the files in /proc/PID are root's. We ourselves read
//! only those of /proc that this leaves alone: `net`, and what asks for the same thread group.

use super::error::Error;
use crate::config::{BackendChoice, Config, Purpose};
use crate::firewall;
use crate::plugin::child::RIGHTS_FOR_ANOTHER_USER;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Uid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use std::io;
use tracing::debug;

/// Ports below need CAP_NET_BIND_SERVICE (ip(7), ip_unprivileged_port_start).
const UNPRIVILEGED_PORTS: u16 = 1024;

/// What this configuration needs on this machine. What only a higher right can prepare is prepared
/// here.
pub(super) fn needed(config: &Config, purpose: Purpose) -> CapabilitySet {
    let has_rules = purpose == Purpose::Daemon && config.firewall.backend != BackendChoice::None;
    if has_rules {
        firewall::load_iptables_modules();
    }
    let lowest_port = match purpose {
        Purpose::Daemon => config.listen.tcp_port.min(config.listen.dns_port),
        Purpose::DnsOnly => config.listen.dns_port,
    };
    let household = config.household.addresses().map(|at| at.port()).min();
    let lowest_port = household.map_or(lowest_port, |port| port.min(lowest_port));
    let mut needed = CapabilitySet::NET_ADMIN;
    needed.set(CapabilitySet::NET_RAW, has_rules && firewall::needs_raw_sockets());
    let captures_datagrams = has_rules && config.may_capture_datagrams();
    let binds_low_ports = lowest_port < UNPRIVILEGED_PORTS || captures_datagrams;
    needed.set(CapabilitySet::NET_BIND_SERVICE, binds_low_ports);
    // A subscription may bring one later.
    let has_plugin = config.proxies.iter().any(|proxy| proxy.kind.plugin().is_some())
        || config.subscriptions.iter().any(|subscription| subscription.plugins);
    needed.set(RIGHTS_FOR_ANOTHER_USER, has_plugin && Uid::effective().is_root());
    needed
}

/// Keeps of `needed` what this thread has, and nothing else. To be called before any other thread
/// exists.
///
/// # Errors
/// [`Error::Privileges`]: a filter of system calls stands in the way.
pub(super) fn keep_only(needed: CapabilitySet) -> Result<(), Error> {
    no_core_dumps().map_err(failed("core dumps"))?;
    prctl::set_no_new_privs().map_err(io::Error::from).map_err(failed("new privileges"))?;
    let held = capabilities(None).map_err(io::Error::from).map_err(failed("capabilities"))?;
    let kept = held.permitted & needed;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        bound(kept).map_err(failed("the bounding set"))?;
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    set_capabilities(None, sets).map_err(io::Error::from).map_err(failed("capabilities"))?;
    if let Err(error) = hand_down(kept) {
        // SECBIT_NO_CAP_AMBIENT_RAISE; root's children do without.
        debug!("the firewall tools may lack rights: {error}");
    }
    debug!("rights that are kept: {}", in_words(kept));
    Ok(())
}

fn in_words(rights: CapabilitySet) -> String {
    let names: Vec<_> = rights.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    match names.is_empty() {
        true => "none".into(),
        false => names.join(", "),
    }
}

fn no_core_dumps() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(prctl::set_dumpable(false)?)
}

/// No program that is started from here, not even by root, gets more.
fn bound(kept: CapabilitySet) -> io::Result<()> {
    // Bits above the last capability that the kernel knows are refused with EINVAL.
    let known = (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
    for capability in known.filter(|capability| !kept.contains(*capability)) {
        match capability_is_in_bounding_set(capability) {
            Ok(true) => remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

fn hand_down(kept: CapabilitySet) -> io::Result<()> {
    clear_ambient_capability_set()?;
    for capability in kept.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Privileges { what, source }
}
