//! Which backend the daemon takes by itself.

use crate::client::{connect, echo};
use crate::peer::service;
use crate::process::{Place, finish, sh};
use crate::snet::{Config, Snet, snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family, sealed};
use std::time::Duration;

/// A native rule that iptables-nft cannot work with, in each table of ours and family.
#[test]
fn auto_takes_nftables_where_iptables_cannot_read_a_table() {
    sealed(|| {
        service::start();
        let (_server, proxy) = Upstream::Tinyproxy.start(Family::V4);
        let mut config = Config::through(Family::V4, &[proxy]);
        for (family, table) in [("ip", "nat"), ("ip6", "nat"), ("ip", "raw"), ("ip6", "filter")] {
            let tool = if family == "ip" { "iptables-nft" } else { "ip6tables-nft" };
            sh(Place::Machine, &format!("{tool} -t {table} -A OUTPUT -p tcp --dport 9 -j ACCEPT"));
            let native = "meta mark set numgen inc mod 2";
            sh(Place::Machine, &format!("nft add rule {family} {table} OUTPUT {native}"));
            let named = format!("table {family} {table}");

            Config::set(&mut config.firewall, "backend", "\"iptables\"");
            let refused = finish(snet(Variant::Nft).arg("-c").arg(config.write()));
            assert_eq!(refused.code(), Some(69), "{}", refused.stdout);
            let told = refused.stderr + &refused.stdout;
            assert!(told.contains("set firewall.backend = \"nftables\""), "{told}");

            Config::set(&mut config.firewall, "backend", "\"auto\"");
            let snet = Snet::ready(snet(Variant::Nft).arg("-c").arg(config.write()));
            assert!(snet.lines("WARN").iter().any(|line| line.contains(&named)), "{}", snet.log());
            let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
            echo(&mut stream, b"through the proxy").expect("an echo");
            drop(stream);
            let logged = || snet.log().contains("proxy=");
            wait::until("the line of a proxied connection", Duration::from_secs(20), logged);
            snet.stop();
            sh(Place::Machine, &format!("nft delete {named}"));
        }
    });
}
