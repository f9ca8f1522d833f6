//! A proxy with a name of its own: whose word about it counts, and what happens when it moves.

use crate::client::{connect, echo};
use crate::counters::Counters;
use crate::peer::{http_proxy, names, service};
use crate::process::{FOLDER, Place, command, finish};
use crate::snet::{Config, Snet};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, FORGED, Family, PROXY, SILENT_DOMESTIC, sealed, sealed_for};
use nix::mount::{MsFlags, mount};
use snet_lab::in_every_variant;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

const NAME: &str = "proxy.example";

fn through_the_name(name: &str) -> Config {
    let address = PROXY.port(Family::V4, http_proxy::TINYPROXY_PORT);
    let proxy = crate::snet::http_proxy(address, None)
        .replace(&address.to_string(), &format!("{name}:{}", address.port()));
    Config::through(Family::V4, &[proxy])
}

fn reaches_the_foreign_site() -> bool {
    let address = FOREIGN_SITE.port(Family::V4, service::ECHO);
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(3));
    stream.is_ok_and(|mut stream| {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(3)));
        echo(&mut stream, b"hello").is_ok()
    })
}

/// Its record lives for five minutes more, and nobody answers at the old address.
#[test]
fn a_proxy_that_moves_is_found_when_it_is_missed() {
    sealed(|| {
        service::start();
        let (_server, _) = http_proxy::tinyproxy(Family::V4);
        let (_trusted, _system) = (names::trusted(), names::system());
        let old = names::domestic_and(NAME, SILENT_DOMESTIC);
        let snet = Snet::start(Variant::Native, &through_the_name(NAME));
        assert!(snet.log().contains("the proxy proxy.example is at"), "{}", snet.log());
        assert!(!reaches_the_foreign_site());
        drop(old);
        let _new = names::domestic_and(NAME, PROXY);
        wait::until("the proxy is found", Duration::from_secs(20), reaches_the_foreign_site);
        connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
        snet.stop();
    });
}

in_every_variant!(a_name_that_does_not_exist_is_no_proxy);

/// The provider has an address for everything.
fn a_name_that_does_not_exist_is_no_proxy(variant: Variant) {
    let (_trusted, _system) = (names::trusted(), names::system());
    let _domestic = names::domestic_and("#", FORGED);
    let counters = Counters::start();
    // The server knows what is under "example".
    for name in ["nosuch.test", "nosuch.invalid"] {
        let snet = Snet::start(variant, &through_the_name(name));
        assert!(snet.log().contains("no name server gives an address"), "{}", snet.log());
        assert!(!snet.log().contains(" is at "), "{}", snet.log());
        // What is exempted is not captured, and leaves.
        let mut curl = command(Place::Machine, "curl");
        let url = format!("http://{}/", FORGED.port(Family::V4, 80));
        finish(curl.args(["-s", "--max-time", "2", &url]));
        snet.stop();
    }
    assert_eq!(counters.leaked(), 0, "a forged address is exempted");
}

#[test]
fn the_hosts_file_knows_the_proxy() {
    sealed(|| {
        service::start();
        let (_server, _) = http_proxy::tinyproxy(Family::V4);
        let (_trusted, _system) = (names::trusted(), names::system());
        let _domestic = names::domestic_and(NAME, SILENT_DOMESTIC);
        let hosts = Path::new(FOLDER).join("hosts");
        let text = format!("127.0.0.1 localhost\n{} other {NAME} # moved\n", PROXY.ip(Family::V4));
        std::fs::write(&hosts, text).expect("the tmpfs is writable");
        let none: Option<&Path> = None;
        mount(Some(&hosts), "/etc/hosts", none, MsFlags::MS_BIND, none)
            .expect("a mount namespace's owner may bind a file");
        let snet = Snet::start(Variant::Nft, &through_the_name(NAME));
        assert!(reaches_the_foreign_site(), "{}", snet.log());
        snet.stop();
    });
}
