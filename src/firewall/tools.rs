//! Which firewall tools this machine has.

use super::command::{self, run};
use super::error::Error;
use super::iptables::LOCK_SECONDS;
use super::ruleset::Family;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// `iptables-save` and `iptables-restore` of one family and variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Iptables {
    /// `iptables`, `ip6tables-legacy` and so on.
    name: String,
    save: PathBuf,
    restore: PathBuf,
}

impl Iptables {
    /// The tools that this system uses.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub(super) fn of_system(family: Family) -> Result<Self, Error> {
        let name = family.tool();
        Self::named(name).ok_or_else(|| Error::Missing { tool: format!("{name}-restore") })
    }

    /// The tools of every variant that may hold rules of ours, each variant once.
    ///
    /// iptables-legacy is looked at only where the kernel has legacy tables: it would load the
    /// modules, and the tables would stay.
    pub(super) fn every(family: Family) -> Vec<Self> {
        let mut every: Vec<Iptables> = Vec::new();
        for variant in ["", "-nft", "-legacy"] {
            let Some(tools) = Self::named(&format!("{}{variant}", family.tool())) else { continue };
            let is_legacy = program(&tools.save).to_string_lossy().contains("legacy");
            let is_known = every.iter().any(|other| program(&other.save) == program(&tools.save));
            if !is_known && (!is_legacy || has_legacy_tables(family)) {
                every.push(tools);
            }
        }
        every
    }

    fn named(name: &str) -> Option<Self> {
        let save = command::find(&format!("{name}-save"))?;
        let restore = command::find(&format!("{name}-restore"))?;
        Some(Iptables { name: name.into(), save, restore })
    }

    /// All tables that exist; none is created by looking.
    pub(super) fn save(&self) -> Result<String, Error> {
        run(&self.save, &[], "")
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
        command::find("ipset").map(Ipset).ok_or_else(|| Error::Missing { tool: "ipset".into() })
    }

    /// The names of all sets.
    pub(super) fn names(&self) -> Result<Vec<String>, Error> {
        Ok(run(&self.0, &["list", "-name"], "")?.lines().map(String::from).collect())
    }

    pub(super) fn restore(&self, text: &str) -> Result<(), Error> {
        run(&self.0, &["restore"], text).map(drop)
    }
}

/// Whether the kernel speaks this family at all.
pub(super) fn kernel_has(family: Family) -> bool {
    family == Family::V4 || net("if_inet6").exists()
}

/// Behind the names stands one program for each variant: xtables-nft-multi, xtables-legacy-multi.
fn program(tool: &Path) -> PathBuf {
    fs::canonicalize(tool).unwrap_or_else(|_| tool.into())
}

fn has_legacy_tables(family: Family) -> bool {
    let names = match family {
        Family::V4 => "ip_tables_names",
        Family::V6 => "ip6_tables_names",
    };
    fs::read_to_string(net(names)).is_ok_and(|names| !names.trim().is_empty())
}

/// /proc/net is that of the process's first thread; this is that of the calling one.
fn net(file: &str) -> PathBuf {
    Path::new("/proc/thread-self/net").join(file)
}
