//! `--dns-only`: the split resolver for an ordinary user, on a high port.

use crate::counters::Counters;
use crate::peer::names;
use crate::process::{Place, unprivileged};
use crate::snet::{Config, Snet, dig};
use crate::tables::{assert_same, snapshot};
use crate::upstream::Upstream;
use crate::wait;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, sealed};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

#[test]
fn without_root_and_with_both_ways_to_the_trusted_side() {
    sealed(|| {
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        for family in FAMILIES {
            for via in ["proxy", "direct"] {
                let counters = Counters::restart();
                let proxies = if via == "proxy" { std::slice::from_ref(&proxy) } else { &[] };
                let mut config = Config::through(family, proxies);
                Config::set(&mut config.dns, "trusted-via", &format!("\"{via}\""));
                Config::set(&mut config.listen, "dns-port", "5300");
                let before = snapshot();
                let file = config.write();
                // No user of this namespace: it may neither mark sockets nor change rules.
                let mut command = unprivileged(Place::Machine, "unshare");
                command
                    .arg("--")
                    .arg(env!("CARGO_BIN_EXE_snet"))
                    .args(["--dns-only", "-c"])
                    .arg(&file);
                let snet = Snet::ready(&mut command);
                for server in ["127.0.0.1", "::1"] {
                    for transport in ["+notcp", "+tcp"] {
                        for (name, site) in [("domestic", DOMESTIC_SITE), ("foreign", FOREIGN_SITE)]
                        {
                            let asked =
                                format!("+short {transport} -p 5300 @{server} {name}.example");
                            let expected = format!("{}\n", site.ip(Family::V4));
                            assert_eq!(dig(&asked), expected, "{via} {asked}\n{}", snet.log());
                        }
                    }
                }
                assert_eq!(counters.leaked() > 0, via == "direct", "the way to the trusted side");
                // Another configuration while it runs; a bad one changes nothing.
                let answers = |expected: &str| {
                    let answer = || dig("+short -p 5300 @127.0.0.1 new.example");
                    wait::until(expected, Duration::from_secs(10), || answer().trim() == expected);
                };
                let mut other = config.clone();
                for (hosts, expected) in [
                    ("{ \"new.example\" = \"192.0.2.99\" }", "192.0.2.99"),
                    ("{ \"new.example\" = \"192.0.2.999\" }", "192.0.2.99"),
                    ("{ \"new.example\" = \"192.0.2.98\" }", "192.0.2.98"),
                ] {
                    Config::set(&mut other.dns, "hosts", hosts);
                    fs::write(&file, other.text()).expect("the tmpfs is writable");
                    let told = || snet.log().matches(" reload").count();
                    let before = told();
                    snet.signal(Signal::SIGHUP);
                    wait::until("a reload", Duration::from_secs(10), || told() > before);
                    answers(expected);
                }
                assert_same(&before, &snapshot());
                snet.stop();
            }
        }
    });
}
