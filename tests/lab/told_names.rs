//! Names in the place of addresses: what a proxy is told of a destination whose name snet answered.

use crate::client::{connect, echo};
use crate::counters::Counters;
use crate::peer::{connect_proxy, names, service};
use crate::snet::{Config, Snet, dig};
use crate::variant::Variant;
use crate::world::{FAMILIES, FOREIGN_SITE, Family, sealed};

#[test]
fn a_proxy_is_told_the_name_that_the_program_asked_for() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted(), names::system()];
        let counters = Counters::start();
        for family in FAMILIES {
            for way in ["auto", "off"] {
                let (proxy, noted) = connect_proxy::noting(family, FOREIGN_SITE);
                let proxy = format!("{proxy}send-names = \"{way}\"\n");
                let snet = Snet::start(Variant::Nft, &Config::through(family, &[proxy]));
                let site = FOREIGN_SITE.port(family, service::ECHO);
                let asked_for = || {
                    let mut stream = connect(site);
                    echo(&mut stream, b"hello").expect("an echo");
                    let noted = noted.lock().expect("no thread of its panicked");
                    noted.last().expect("a destination").clone()
                };
                assert_eq!(asked_for(), site.to_string(), "nobody has asked for a name");
                let kind = if family == Family::V4 { "A" } else { "AAAA" };
                let said = dig(&format!("+short {kind} foreign.example"));
                assert_eq!(said.trim(), site.ip().to_string());
                let told = match way {
                    "auto" => format!("foreign.example:{}", service::ECHO),
                    _ => site.to_string(),
                };
                assert_eq!(asked_for(), told, "{way} {family:?}\n{}", snet.log());
                snet.stop();
            }
        }
        assert_eq!(counters.leaked(), 0);
    });
}
