//! Name servers, by dnsmasq: a domestic one, a trusted one, and the one that the machine asks
//! while snet is not there.
//!
//! | name | domestic side | trusted side | the system's server |
//! |---|---|---|---|
//! | domestic.example | the domestic site | a far-away copy | [`OLD`] |
//! | foreign.example | a forged foreign address | the foreign site | [`OLD`] |
//! | blocked.example | the blocked site | the blocked site | [`OLD`] |
//! | absent.example | NXDOMAIN | NXDOMAIN | NXDOMAIN |

use crate::process::{Place, Running, unprivileged};
use crate::world::{
    BLOCKED_SITE, DOMESTIC_NAMES, DOMESTIC_SITE, FAMILIES, FAR_COPY, FOREIGN_SITE, FORGED, Family,
    Host, MACHINE, SYSTEM_NAMES, TRUSTED_NAMES,
};

/// What the system's server says: it shows that a query was not captured.
pub const OLD: Host = MACHINE;

/// The domestic server.
pub fn domestic() -> Running {
    dnsmasq(
        DOMESTIC_NAMES,
        &[
            ("domestic.example", DOMESTIC_SITE),
            ("foreign.example", FORGED),
            ("blocked.example", BLOCKED_SITE),
        ],
    )
}

/// The domestic server, which knows one more name (`#`: every name).
pub fn domestic_and(name: &str, target: Host) -> Running {
    dnsmasq(
        DOMESTIC_NAMES,
        &[("domestic.example", DOMESTIC_SITE), ("foreign.example", FORGED), (name, target)],
    )
}

/// The trusted server.
pub fn trusted() -> Running {
    dnsmasq(
        TRUSTED_NAMES,
        &[
            ("domestic.example", FAR_COPY),
            ("foreign.example", FOREIGN_SITE),
            ("blocked.example", BLOCKED_SITE),
        ],
    )
}

/// The server of the machine's resolv.conf.
pub fn system() -> Running {
    dnsmasq(
        SYSTEM_NAMES,
        &[("domestic.example", OLD), ("foreign.example", OLD), ("blocked.example", OLD)],
    )
}

/// The trusted server, which knows one more name.
pub fn trusted_and(name: &str, target: Host) -> Running {
    dnsmasq(TRUSTED_NAMES, &[("foreign.example", FOREIGN_SITE), (name, target)])
}

fn dnsmasq(host: Host, records: &[(&str, Host)]) -> Running {
    let mut command = unprivileged(Place::Internet, "dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--local=/example/",
        "--local=/podman/",
        "--local=/local/",
        "--local-ttl=300",
        "--pid-file=",
        "--log-facility=-",
    ]);
    for family in FAMILIES {
        command.arg(format!("--listen-address={}", host.ip(family)));
    }
    for (name, target) in records {
        let (v4, v6) = (target.ip(Family::V4), target.ip(Family::V6));
        if *name != "#" {
            command.arg(format!("--host-record={name},{v4},{v6},300"));
        }
        // Everything below it.
        command.arg(format!("--address=/{name}/{v4}"));
        command.arg(format!("--address=/{name}/{v6}"));
    }
    let mut server = Running::start("dnsmasq", &mut command);
    super::wait_for_listener(&mut server, host.port(Family::V6, 53));
    server
}
