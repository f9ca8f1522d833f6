//! Which families the tools of this machine can serve.

use super::residue;
use super::table::Part;
use crate::family::Family;
use crate::firewall::error::Error;
use crate::firewall::policy::{Ipv6, Policy};
use crate::firewall::switch::OnFailure;
use crate::firewall::tools::{Ipset, Iptables, kernel_has};
use tracing::{info, warn};

/// Whether all tools of this backend are installed, for IPv4 at least.
pub(in crate::firewall) fn has_tools() -> bool {
    Ipset::find().is_ok() && Iptables::of_system(Family::V4).is_ok()
}

/// The tables of ours that iptables-nft cannot work with, as nft names them: somebody made rules
/// there that it cannot express. What cannot be asked is not among them.
pub(in crate::firewall) fn unreadable_tables() -> Vec<String> {
    let of = |family: Family| {
        let saved = Iptables::of_system(family).and_then(|tools| tools.save());
        let parts = residue::unreadable(&saved.unwrap_or_default());
        // Needed for UDP only, which may be captured or not.
        let parts = parts.into_iter().filter(|part| *part != Part::Mangle);
        let name = if family == Family::V4 { "ip" } else { "ip6" };
        parts.map(move |part| format!("table {name} {}", part.table()))
    };
    Family::ALL.into_iter().filter(|family| kernel_has(*family)).flat_map(of).collect()
}

/// The tools of each family that the kernel has.
///
/// # Errors
/// [`Error::Missing`]; without those of IPv6 there is a warning, unless a failure closes the
/// network.
pub(in crate::firewall) fn of_families(policy: &Policy) -> Result<Vec<(Family, Iptables)>, Error> {
    let mut tools = Vec::new();
    for family in Family::ALL {
        if !kernel_has(family) {
            info!("this kernel has no {family}: only the other family is captured");
            continue;
        }
        match Iptables::of_system(family) {
            // A closed network must not be open on one side.
            Err(error) if family == Family::V6 && policy.on_failure == OnFailure::Open => {
                warn_unfiltered(policy, &error);
                continue;
            }
            found => tools.push((family, found?)),
        }
        if let Some(why) = policy.uncaptured(family) {
            warn!("{why}");
        }
    }
    Ok(tools)
}

/// IPv6 has no rules, and why.
pub(in crate::firewall) fn warn_unfiltered(policy: &Policy, error: &Error) {
    let what = match policy.ipv6 {
        Ipv6::Block => "foreign IPv6 is NOT blocked",
        Ipv6::Proxy | Ipv6::Direct => "IPv6 is not captured",
    };
    warn!("{what}: {error}");
}
