//! The plainest lab: loopback, and one variant of iptables under its plain names.

use crate::process::{Place, sh};
use crate::{Variant, seal, tools};
use std::fs;

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
    seal::sealed(tools::require_kernels, Some(variant.path()), prepare, body);
}

/// Runs one command line without quotes; returns its output.
pub fn run(line: &str) -> String {
    sh(Place::Machine, line)
}
