//! Which iptables a test has, or none, and a test for each.

use crate::process::FOLDER;
use crate::tools;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Which iptables; or nftables without a tool, and then iptables-nft is that of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// iptables-nft.
    Nft,
    /// iptables-legacy.
    Legacy,
    /// nftables over netlink.
    Native,
}

/// The names under which the variants are called.
pub const IPTABLES: [&str; 6] = [
    "iptables",
    "iptables-restore",
    "iptables-save",
    "ip6tables",
    "ip6tables-restore",
    "ip6tables-save",
];

impl Variant {
    /// All of them.
    pub const EVERY: [Variant; 3] = [Variant::Nft, Variant::Legacy, Variant::Native];

    /// The program behind all the names.
    fn program(self) -> &'static str {
        match self {
            Variant::Nft | Variant::Native => "xtables-nft-multi",
            Variant::Legacy => "xtables-legacy-multi",
        }
    }

    /// `firewall.backend`, as TOML.
    pub fn backend(self) -> &'static str {
        match self {
            Variant::Nft | Variant::Legacy => "\"iptables\"",
            Variant::Native => "\"nftables\"",
        }
    }

    /// A folder in which `iptables` and its family are this variant, to stand first in PATH. It is
    /// made if it is not there, on the sealed tmpfs.
    pub fn folder(self) -> PathBuf {
        let folder = self.place();
        if !folder.exists() {
            fs::create_dir_all(&folder).expect("the tmpfs is writable");
            for name in IPTABLES {
                symlink(tools::path(self.program()), folder.join(name))
                    .expect("the tmpfs is writable");
            }
        }
        folder
    }

    fn place(self) -> PathBuf {
        Path::new(FOLDER).join(self.program())
    }

    /// PATH with that folder first, and with the folders of what only root needs.
    pub fn path(self) -> OsString {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = vec![self.place()];
        folders.extend(std::env::split_paths(&path));
        folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        std::env::join_paths(folders).expect("no path has a colon")
    }
}

/// What a test of a variant does; one that need not know which takes no argument.
pub trait Body<Argument> {
    /// Does it.
    fn run(self, variant: Variant);
}

impl<F: FnOnce()> Body<()> for F {
    fn run(self, _: Variant) {
        self();
    }
}

impl<F: FnOnce(Variant)> Body<Variant> for F {
    fn run(self, variant: Variant) {
        self(variant);
    }
}

/// For each function named, a module of its name with a test for each [`Variant`](crate::Variant):
/// `name::iptables_nft`, `name::iptables_legacy` and `name::nftables`. Each is sealed by what is
/// called `sealed_for` where the macro stands.
#[macro_export]
macro_rules! in_every_variant {
    ($($name:ident),* $(,)?) => { $crate::in_variants!([Nft, Legacy, Native] $($name),*); };
}

/// The same for both variants of iptables.
#[macro_export]
macro_rules! in_both_variants {
    ($($name:ident),* $(,)?) => { $crate::in_variants!([Nft, Legacy] $($name),*); };
}

/// The same for the variants that are listed.
#[macro_export]
macro_rules! in_variants {
    ($variants:tt $($name:ident),* $(,)?) => { $($crate::in_variants!(@all $name $variants);)* };
    (@all $name:ident [$($variant:ident),*]) => {
        mod $name {
            $($crate::in_variants!(@one $name $variant);)*
        }
    };
    (@one $name:ident Nft) => { $crate::in_variants!(@test $name Nft iptables_nft); };
    (@one $name:ident Legacy) => { $crate::in_variants!(@test $name Legacy iptables_legacy); };
    (@one $name:ident Native) => { $crate::in_variants!(@test $name Native nftables); };
    (@test $name:ident $variant:ident $test:ident) => {
        #[test]
        fn $test() {
            let variant = $crate::Variant::$variant;
            super::sealed_for(variant, || $crate::variant::Body::run(super::$name, variant));
        }
    };
}
