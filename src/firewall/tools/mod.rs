//! Which firewall tools this machine has.

use super::error::Error;
use crate::family::Family;
use command::run;
pub(super) mod command;
pub(super) mod kernel;

use crate::search_path;
use rustix::thread::{CapabilitySet, capabilities};
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Seconds to wait for the lock that iptables-legacy takes (/run/xtables.lock).
pub(in crate::firewall) const LOCK_SECONDS: &str = "10";

/// `iptables-save` and `iptables-restore` of one family and variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Iptables {
    /// `iptables`, `ip6tables-legacy` and so on.
    name: String,
    family: Family,
    save: PathBuf,
    restore: PathBuf,
}

/// A Linux that finds ip_tables by the name of the match icmp, which is in it. (4.14.141 does not,
/// 4.19.191 does; to load it where it is not needed does no harm.)
const MATCHES_ARE_FOUND: (u32, u32) = (4, 19);

/// Every table that rules like ours can be in.
const TABLES: [&str; 4] = ["raw", "mangle", "nat", "filter"];

impl Iptables {
    /// The tools that this system uses.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub(super) fn of_system(family: Family) -> Result<Self, Error> {
        let name = family.tool();
        Self::named(name, family).ok_or_else(|| Error::Missing { tool: format!("{name}-restore") })
    }

    /// The tools of every variant that may hold rules of ours, each variant once.
    ///
    /// iptables-legacy is looked at only where the kernel has legacy tables: it would load the
    /// modules, and the tables would stay. Without CAP_NET_RAW it cannot be looked at, and rules of
    /// ours cannot be there but by somebody who had it.
    pub(super) fn every(family: Family) -> Vec<Self> {
        let mut every: Vec<Iptables> = Vec::new();
        for variant in ["", "-nft", "-legacy"] {
            let name = format!("{}{variant}", family.tool());
            let Some(tools) = Self::named(&name, family) else { continue };
            let is_known = every.iter().any(|other| program(&other.save) == program(&tools.save));
            let is_worth_it =
                !tools.is_legacy() || has_raw_sockets() && has_legacy_tables(family) != Some(false);
            if !is_known && is_worth_it {
                every.push(tools);
            }
        }
        every
    }

    fn named(name: &str, family: Family) -> Option<Self> {
        let save = search_path::find(&format!("{name}-save"))?;
        let restore = search_path::find(&format!("{name}-restore"))?;
        Some(Iptables { name: name.into(), family, save, restore })
    }

    /// Whether these are the same programs, whatever they are called.
    pub(super) fn is_alike(&self, other: &Iptables) -> bool {
        self.family == other.family && program(&self.save) == program(&other.save)
    }

    pub(super) fn is_legacy(&self) -> bool {
        program(&self.save).to_string_lossy().contains("legacy")
    }

    /// Whether iptables-legacy has a table nat, as far as the kernel says.
    pub(super) fn is_nat_of_legacy_there(&self) -> bool {
        legacy_tables(self.family).is_ok_and(|names| names.lines().any(|name| name == "nat"))
    }

    /// All tables that exist; none is created by looking.
    ///
    /// Where the kernel hides which legacy tables there are, each is asked for by name.
    /// That makes it, but only in the namespace of somebody who is not really root.
    pub(super) fn save(&self) -> Result<String, Error> {
        if self.is_legacy() && has_legacy_tables(self.family).is_none() {
            let saves = TABLES.map(|table| run(&self.save, &["-t", table], ""));
            return saves.into_iter().collect();
        }
        run(&self.save, &[], "")
    }

    /// The same with the packets and bytes of each rule, of the tables that exist, or of this one.
    pub(super) fn save_counted(&self, table: Option<&str>) -> Result<String, Error> {
        if let Some(table) = table {
            return run(&self.save, &["-c", "-t", table], "");
        }
        if self.is_legacy() && has_legacy_tables(self.family).is_none() {
            let saves = TABLES.map(|table| run(&self.save, &["-c", "-t", table], ""));
            return saves.into_iter().collect();
        }
        run(&self.save, &["-c"], "")
    }

    /// Applies the text; each table in it is committed whole, one after the other.
    pub(super) fn restore(&self, text: &str) -> Result<(), Error> {
        run(&self.restore, &["--noflush", "-w", LOCK_SECONDS], text).map(drop)
    }
}

impl fmt::Display for Iptables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The tool for address sets.
#[derive(Clone, Debug)]
pub(super) struct Ipset(PathBuf);

impl Ipset {
    /// # Errors
    /// [`Error::Missing`].
    pub(super) fn find() -> Result<Self, Error> {
        search_path::find("ipset").map(Ipset).ok_or_else(|| Error::Missing { tool: "ipset".into() })
    }

    /// The names of all sets.
    pub(super) fn names(&self) -> Result<Vec<String>, Error> {
        Ok(run(&self.0, &["list", "-name"], "")?.lines().map(String::from).collect())
    }

    pub(super) fn restore(&self, text: &str) -> Result<(), Error> {
        run(&self.0, &["restore"], text).map(drop)
    }
}

/// Whether there may be tables whose changes nobody tells of.
pub(super) fn has_silent_tables() -> bool {
    Family::ALL.into_iter().any(|family| has_legacy_tables(family) != Some(false))
}

/// Whether the tools need CAP_NET_RAW: iptables asks for the number of a set over a raw socket, in
/// both variants (libxt_set.h: "Can't open socket to ipset"). Without ipset there is no such rule.
pub fn needs_raw_sockets() -> bool {
    Ipset::find().is_ok()
}

/// Loads what iptables asks of the kernel and the kernel does not load by itself: all of it where
/// iptables-legacy is what iptables is, which does so too, but only with CAP_SYS_MODULE
/// (nf_sockopt.c); for iptables-nft on an old kernel the match icmp.
pub fn load_iptables_modules() {
    let is_legacy = |family| Iptables::of_system(family).is_ok_and(|tools| tools.is_legacy());
    let is_there = |family| Iptables::of_system(family).is_ok();
    let is_needed = Family::ALL.into_iter().any(is_legacy)
        || kernel::is_before(MATCHES_ARE_FOUND) && Family::ALL.into_iter().any(is_there);
    if !is_needed {
        return;
    }
    if let Some(modprobe) = search_path::find("modprobe") {
        // Built in, or not there: then the tools say what is missing.
        let _ = run(&modprobe, &["-aq", "ip_tables", "ip6_tables"], "");
    }
}

/// iptables-legacy speaks to the kernel over a raw socket (capabilities(7)).
fn has_raw_sockets() -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::NET_RAW))
}

/// Whether the kernel speaks this family at all.
pub(super) fn kernel_has(family: Family) -> bool {
    family == Family::V4 || net("if_inet6").exists()
}

/// Behind the names stands one program for each variant: xtables-nft-multi, xtables-legacy-multi.
fn program(tool: &Path) -> PathBuf {
    fs::canonicalize(tool).unwrap_or_else(|_| tool.into())
}

/// Whether there are legacy tables. `None`: the kernel does not say, since its list belongs to the
/// real root even inside a user namespace (seen on 6.18: EACCES).
fn has_legacy_tables(family: Family) -> Option<bool> {
    match legacy_tables(family) {
        Ok(names) => Some(!names.trim().is_empty()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(_) => Some(false),
    }
}

fn legacy_tables(family: Family) -> io::Result<String> {
    let names = match family {
        Family::V4 => "ip_tables_names",
        Family::V6 => "ip6_tables_names",
    };
    fs::read_to_string(net(names))
}

/// /proc/net is that of the process's first thread; this is that of the calling one.
fn net(file: &str) -> PathBuf {
    Path::new("/proc/thread-self/net").join(file)
}
