//! The plainest lab: loopback, and one variant of iptables under its plain names.

use crate::process::{Place, sh};
use crate::{Variant, seal, tools, wait};
use std::fs;
use std::time::Duration;

/// Names its variant to the inner run.
const VARIANT: &str = "SNET_LAB_VARIANT";

/// Runs `body` where `iptables` is this variant. To be called by a test as the only thing it does.
pub fn sealed_for<F: FnOnce()>(variant: Variant, body: F) {
    let prepare = || {
        variant.folder();
        // Addresses can be used at once, without duplicate address detection.
        for interfaces in ["all", "default"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{interfaces}/accept_dad"), "0")
                .expect("the namespace is ours");
        }
        run("ip link set lo up");
    };
    let environment = [("PATH", variant.path()), (VARIANT, format!("{variant:?}").into())];
    seal::sealed(tools::require_kernels, &environment, prepare, body);
}

/// The variant of this lab.
pub fn variant() -> Variant {
    let named = std::env::var(VARIANT).expect("it is sealed");
    let found = Variant::EVERY.into_iter().find(|known| format!("{known:?}") == named);
    found.expect("it is one of them")
}

/// Waits for what follows from a change of the network.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    wait::until(what, Duration::from_secs(20), holds);
}

/// Runs one command line without quotes; returns its output.
pub fn run(line: &str) -> String {
    sh(Place::Machine, line)
}
