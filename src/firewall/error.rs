//! What goes wrong between us and the firewall tools.

use std::io;
use std::time::Duration;

/// Why rules could not be installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More LAN-side interfaces than a set of ipset holds.
    #[error(
        "{count} interfaces are LAN side, and ipset takes at most 64: name those that shall be \
         captured in firewall.interfaces, or set firewall.backend = \"nftables\", which has no such \
         limit"
    )]
    TooManyInterfaces {
        /// How many there are.
        count: usize,
    },
    /// A tool is not installed.
    #[error("{tool} is not installed; on Debian and Ubuntu: apt install iptables ipset")]
    Missing {
        /// Its name.
        tool: String,
    },
    /// A tool is there and cannot be started.
    #[error("cannot run {command}: {source}")]
    Spawn {
        /// The command line.
        command: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not root.
    #[error(
        "{command} is not permitted; run snet as root or with CAP_NET_ADMIN and CAP_NET_RAW: {said}"
    )]
    NotPermitted {
        /// The command line.
        command: String,
        /// Its complaint.
        said: String,
    },
    /// A tool refused.
    #[error("{command} failed: {said}{}", hint(command, said))]
    Failed {
        /// The command line.
        command: String,
        /// The first lines of its standard error.
        said: String,
    },
    /// A tool did not end in time.
    #[error("{command} did not end within {} s and was stopped; does another program hold the lock /run/xtables.lock?", .limit.as_secs())]
    Hangs {
        /// The command line.
        command: String,
        /// How long it had.
        limit: Duration,
    },
    /// A table holds rules that iptables cannot read, so it must not write there.
    #[error(
        "the {family} table `{table}` holds native nft rules that iptables cannot work with \
         (`nft list ruleset` shows them); set firewall.backend = \"nftables\", which does not need that \
         table, or move them to a table of another name"
    )]
    Foreign {
        /// IPv4 or IPv6.
        family: String,
        /// Its name.
        table: &'static str,
    },
    /// All commands succeeded, and yet the rules are not there.
    #[error(
        "the {family} rules are not in place after {command}: {missing}; does another program \
         reload the firewall at the same time? `snet cleanup` and try again"
    )]
    Unverified {
        /// IPv4 or IPv6.
        family: String,
        /// What should have made them.
        command: String,
        /// The first thing that is not as it should be.
        missing: String,
    },
    /// The other backend.
    #[error(transparent)]
    Nftables(#[from] super::nftables::Error),
    /// Links, addresses and routes cannot be read.
    #[error("cannot read this machine's links and routes over netlink: {source}")]
    Survey {
        /// What the kernel said.
        source: io::Error,
    },
    /// Our routes cannot be read or removed.
    #[error("cannot remove routes and routing rules of snet over netlink: {source}")]
    Routes {
        /// What the kernel said.
        source: io::Error,
    },
    /// The way of captured datagrams cannot be made.
    #[error(
        "cannot make the policy routes of captured UDP over netlink: {source}; \
         firewall.udp = \"direct\" and firewall.quic = \"reject\" need none"
    )]
    PolicyRoutes {
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing tells the uplink from the LAN.
    #[error(
        "no interface has a default route, so the uplink cannot be told from the LAN side; name the \
         LAN side, for example firewall.interfaces = [\"br-lan\"] (there are: {})",
        .there.join(", ")
    )]
    Unclear {
        /// The interfaces that there are.
        there: Vec<String>,
    },
    /// The socket for changes of sets cannot be made.
    #[error("cannot speak to ipset over netlink: {source}")]
    Netlink {
        /// What the kernel said.
        source: io::Error,
    },
}

impl Error {
    /// Whether a user with more rights would have succeeded.
    pub fn is_permission(&self) -> bool {
        match self {
            Error::NotPermitted { .. } => true,
            Error::Nftables(error) => error.is_permission(),
            Error::Spawn { source, .. }
            | Error::Netlink { source }
            | Error::Survey { source }
            | Error::Routes { source }
            | Error::PolicyRoutes { source } => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Classes the complaint of a tool that failed. The tools have one exit status for nearly
    /// everything (iptables(8): 1, 2, 3, 4), so it is their words that tell; LC_ALL is C.
    pub(crate) fn of_tool(command: String, said: String) -> Self {
        let any = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
        if any(&[
            "Permission denied",
            "Operation not permitted",
            "you must be root",
            "open socket to ipset",
        ]) {
            Error::NotPermitted { command, said }
        } else {
            Error::Failed { command, said }
        }
    }

    /// Whether it looks as if another program worked on our rules at the same time.
    pub(super) fn is_interference(&self) -> bool {
        match self {
            Error::Unverified { .. } => true,
            Error::Failed { said, .. } => said.contains("already exists"),
            _ => false,
        }
    }

    /// Whether another program was changing the firewall (iptables(8), `-w`).
    pub(super) fn is_locked_out(&self) -> bool {
        matches!(self, Error::Failed { said, .. } if said.contains(XTABLES_LOCK))
    }

    /// Whether the kernel has no such table or match for this family.
    pub(super) fn is_unsupported(&self) -> bool {
        let Error::Failed { said, .. } = self else { return false };
        KERNEL_LACKS.iter().any(|needle| said.contains(needle))
    }
}

const XTABLES_LOCK: &str = "xtables lock";

const KERNEL_LACKS: [&str; 5] = [
    "Table does not exist",
    "unable to initialize table",
    "do you need to insmod",
    "Address family not supported",
    "Protocol not supported",
];

/// The names of matches and targets, the module of the kernel that each is in, and OpenWrt's
/// package of it (include/netfilter.mk).
const EXTENSIONS: [(&str, &str, &str); 12] = [
    ("set", "xt_set", "kmod-ipt-ipset"),
    ("SET", "xt_set", "kmod-ipt-ipset"),
    ("CT", "xt_CT", "kmod-ipt-conntrack"),
    ("conntrack", "xt_conntrack", "kmod-ipt-conntrack"),
    ("REDIRECT", "xt_REDIRECT", "kmod-ipt-nat"),
    ("REJECT", "ipt_REJECT", "kmod-ipt-core"),
    ("addrtype", "xt_addrtype", "kmod-ipt-extra"),
    ("owner", "xt_owner", "kmod-ipt-extra"),
    ("mark", "xt_mark", "kmod-ipt-core"),
    ("MARK", "xt_mark", "kmod-ipt-core"),
    // Before Linux 4.19 the kernel does not find these by their own names.
    ("icmp", "ip_tables", "kmod-ipt-core"),
    ("icmp6", "ip6_tables", "kmod-ip6tables"),
];

/// What the operator can do.
fn hint(command: &str, said: &str) -> String {
    let any = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    let hint = if any(&["is incompatible, use 'nft' tool"]) {
        "; it holds native nft rules, set firewall.backend = \"nftables\""
    } else if any(&[XTABLES_LOCK]) {
        "; another program is changing the firewall, try again"
    } else if any(&["in use by a kernel component"]) {
        "; a rule that is not ours names this set, `iptables-save | grep snet-` shows it"
    } else if any(&KERNEL_LACKS) {
        "; the kernel lacks a module, try `modprobe -a iptable_nat iptable_raw iptable_filter \
         ip6table_nat ip6table_raw ip6table_filter`"
    } else if let Some((_, module, package)) =
        EXTENSIONS.iter().find(|(name, ..)| said.contains(&format!("Extension {name} ")))
    {
        return format!(
            "; the kernel lacks the module {module}, try `modprobe {module}`; on OpenWrt: \
             {package}; or firewall.backend = \"nftables\""
        );
    } else if any(&["No chain/target/match by that name", "Extension", "Couldn't load"]) {
        "; the kernel lacks a module, try `modprobe -a xt_set xt_CT xt_REDIRECT xt_conntrack \
         xt_addrtype xt_mark`; on OpenWrt: kmod-ipt-ipset kmod-ipt-conntrack kmod-ipt-nat \
         kmod-ipt-extra kmod-ipt-core"
    } else if any(&["Cannot open session to kernel", "Kernel support protocol"])
        || ["ipset list", "ipset save"].iter().any(|asked| command.starts_with(asked))
            && any(&["Kernel error received: Invalid argument"])
    {
        "; the kernel lacks a module, try `modprobe -a ip_set ip_set_hash_net ip_set_hash_ip`; on \
         OpenWrt: kmod-ipt-ipset; or firewall.backend = \"nftables\""
    } else {
        ""
    };
    hint.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(said: &str) -> Error {
        Error::of_tool("iptables-restore".into(), said.into())
    }

    #[test]
    fn classes_by_the_words_of_the_tools() {
        let root = "iptables-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)";
        assert!(error(root).is_permission());
        assert!(
            error("ipset v7.17: Kernel error received: Operation not permitted").is_permission()
        );
        let legacy = error(
            "ip6tables-restore: can't initialize ip6tables table `nat': Table does not exist (do you need to insmod?)",
        );
        assert!(legacy.is_unsupported());
        assert!(legacy.to_string().contains("modprobe"));
    }

    #[test]
    fn what_the_kernel_lacks_is_named() {
        let said = "Warning: Extension CT revision 0 not supported, missing kernel module?";
        let told = error(said).to_string();
        assert!(told.contains("`modprobe xt_CT`; on OpenWrt: kmod-ipt-conntrack;"), "{told}");
        let said = "Warning: Extension icmp revision 0 not supported, missing kernel module?";
        assert!(error(said).to_string().contains("`modprobe ip_tables`"));
        let legacy = error("iptables-restore: No chain/target/match by that name").to_string();
        assert!(legacy.contains("xt_CT") && legacy.contains("kmod-ipt-ipset"), "{legacy}");
        let said = "ipset v7.17: Kernel error received: Invalid argument";
        for asked in ["ipset list -name", "ipset save"] {
            let told = Error::of_tool(asked.into(), said.into()).to_string();
            assert!(told.contains("-a ip_set") && told.contains("kmod-ipt-ipset"), "{told}");
        }
        // A wrong entry is no missing module.
        let told = Error::of_tool("ipset restore".into(), said.into()).to_string();
        assert!(!told.contains("modprobe"), "{told}");
    }

    #[test]
    fn a_table_that_iptables_cannot_read_is_told_with_the_way_out() {
        let told =
            error("iptables v1.8.9 (nf_tables): table `nat' is incompatible, use 'nft' tool.");
        let found = Error::Foreign { family: "IPv6".into(), table: "raw" };
        for text in [told.to_string(), found.to_string()] {
            assert!(text.contains("firewall.backend = \"nftables\""), "{text}");
        }
    }

    #[test]
    fn a_missing_tool_is_one_line_with_the_remedy() {
        let text = Error::Missing { tool: "ipset".into() }.to_string();
        assert!(text.contains("apt install iptables ipset") && !text.contains('\n'));
    }
}
