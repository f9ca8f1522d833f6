//! Other hosts ask snet itself for names: over UDP and TCP, TLS and HTTPS, by real clients, and
//! through a dnsmasq that asks it for them. Hosts of elsewhere get nothing.

use crate::peer::names;
use crate::peer::unbound::pem;
use crate::process::{Place, Running, command, finish, unprivileged};
use crate::snet::{Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{DOMESTIC_SITE, FOREIGN_SITE, Family, Host, MACHINE, SYSTEM_NAMES, sealed};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Not of the machine's network.
const STRANGER: Host = DOMESTIC_SITE;

/// What a host of the internet side hears.
fn ask(program: &str, arguments: &[&str]) -> String {
    let mut command = command(Place::Internet, program);
    finish(command.args(arguments)).stdout
}

fn snet(clients: &str, proxy: &str) -> Snet {
    let mut config = Config::through(Family::V4, &[proxy.to_owned()]);
    let key = pem("dns.example.key.der", "PRIVATE KEY");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let certificate = pem("dns.example.der", "CERTIFICATE");
    let own = MACHINE.ip(Family::V4);
    config.top.extend([
        format!("household.dns = \"{own}\""),
        format!("household.dns-over-tls = [\"{own}\"]"),
        format!("household.dns-over-https = [\"{own}\"]"),
        format!("household.certificate-file = \"{certificate}\""),
        format!("household.key-file = \"{key}\""),
        format!("household.clients = [{clients}]"),
    ]);
    Snet::start(Variant::Native, &config)
}

#[test]
fn other_hosts_ask_in_every_way_and_strangers_get_nothing() {
    sealed(|| {
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let (own, site) = (MACHINE.ip(Family::V4), FOREIGN_SITE.ip(Family::V4).to_string());
        let server = format!("@{own}");
        let trusted = format!("+tls-ca={}", pem("authority.der", "CERTIFICATE"));
        let brief = ["+short", "+retry=0", "+time=2", "foreign.example", "A"];
        let ways: [&[&str]; 5] = [
            &["+notcp"],
            &["+tcp"],
            &["+tls", "+tls-host=dns.example", &trusted],
            &["+https=dns.example/dns-query", "+tls-host=dns.example", &trusted],
            &["+https-get=dns.example/dns-query", "+tls-host=dns.example", &trusted],
        ];
        let kdig = |way: &[&str]| ask("kdig", &[&[server.as_str()], way, &brief].concat());

        let stranger = STRANGER.ip(Family::V4).to_string();
        let as_stranger = ["-b", stranger.as_str()];

        let snet = self::snet("", &proxy);
        for way in ways {
            assert_eq!(kdig(way), format!("{site}\n"), "{way:?}\n{}", snet.log());
            let said = kdig(&[way, &as_stranger].concat());
            assert!(!said.contains(&site), "a stranger: {way:?}: {said}");
        }
        snet.stop();

        let snet = self::snet(&format!("\"{}\"", STRANGER.ip(Family::V4)), &proxy);
        for way in ways {
            let said = kdig(&[way, &as_stranger].concat());
            assert_eq!(said, format!("{site}\n"), "household.clients: {way:?}\n{}", snet.log());
        }
        a_dnsmasq_asks_it(&snet, &site);
        // A program of this machine means snet too when it asks there, although it is captured.
        let mut command = Command::new(crate::tools::path("dig"));
        let local = finish(command.args(["+short", &server, "foreign.example"])).stdout;
        assert_eq!(local, format!("{site}\n"));
        snet.stop();
    });
}

/// The other way round than capture: dnsmasq has the clients, and asks snet.
fn a_dnsmasq_asks_it(snet: &Snet, site: &str) {
    let (own, here) = (MACHINE.ip(Family::V4), SYSTEM_NAMES.ip(Family::V4));
    let mut command = unprivileged(Place::Internet, "dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]);
    command.args(["--bind-interfaces", "--port=5353", "--pid-file=", "--log-facility=-"]);
    command.arg(format!("--listen-address={here}"));
    command.arg(format!("--server={own}"));
    let _dnsmasq = Running::start("dnsmasq", &mut command);
    let server = format!("@{here}");
    let question = ["-p", "5353", "+short", "+retry=3", "+time=2", "foreign.example", "A"];
    let said = ask("kdig", &[&[server.as_str()], question.as_slice()].concat());
    assert_eq!(said, format!("{site}\n"), "{}", snet.log());
}
