//! What the configuration leaves to this machine, and what it has chosen: for `snet check`.

use super::build;
use crate::config::{BackendChoice, Config, Mode, Offload};
use crate::dns;
use crate::firewall::{self, Backend, Environment};
use std::net::SocketAddr;

/// One line for each choice. Sends nothing, and changes nothing.
pub fn here(config: &Config) -> Vec<String> {
    let mut told = Vec::new();
    let choice = config.firewall.backend;
    let backend = build::backend(config);
    if let Some(backend) = backend.filter(|_| choice == BackendChoice::Auto) {
        told.push(format!("backend = \"auto\" is {backend}: {}", why(backend)));
    }
    if !crate::net::has_ipv6() {
        told.push("no IPv6 in this kernel".into());
    }
    if config.dns.servers.local.is_empty() {
        let servers: Vec<String> = dns::system_servers().iter().map(shown).collect();
        told.push(match servers.is_empty() {
            true => "the system has no name server, but for loopback addresses".into(),
            false => format!("the system's name servers: {}", servers.join(", ")),
        });
    }
    let Some(backend) = backend else { return told };
    let endpoints = build::endpoints(config, None);
    match build::ruleset(config, &config.listen.addresses, &endpoints) {
        Ok(ruleset) => {
            if config.mode == Mode::Router {
                told.extend(sides(&ruleset.environment));
            }
            if config.firewall.offload == Offload::Auto {
                told.extend(firewall::offloaded(backend, ruleset));
            }
        }
        Err(error) => told.push(format!("a start would fail: {error}")),
    }
    told
}

fn shown(server: &SocketAddr) -> String {
    if server.port() == 53 { server.ip().to_string() } else { server.to_string() }
}

fn why(backend: Backend) -> &'static str {
    match backend {
        Backend::Iptables => "it and ipset are installed, and its tables have no native nft rules",
        Backend::Nftables => {
            "iptables or ipset is not installed, or native nft rules are in iptables' tables"
        }
    }
}

/// The LAN side and the uplinks, at present.
fn sides(environment: &Environment) -> [String; 2] {
    let names = |names: Vec<&str>| match names.is_empty() {
        true => "none at present".to_owned(),
        false => names.join(", "),
    };
    let lan = environment.lan.interfaces.iter().map(|it| it.name.as_str()).collect();
    let uplinks = environment.lan.uplinks.iter().map(String::as_str).collect();
    [format!("LAN side: {}", names(lan)), format!("uplinks: {}", names(uplinks))]
}
