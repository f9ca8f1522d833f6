//! Several proxies: one that carries nothing is passed over from the start, and the death of one
//! costs no connection.

use crate::client::{connect, echo, try_connect};
use crate::peer::{names, service, shadowsocks};
use crate::process::{Place, Running, sh};
use crate::snet::{Config, Snet, dig};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family, PROXY, sealed};
use nix::sys::signal::Signal;
use std::sync::Mutex;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const METHOD: &str = "aes-128-gcm";
const FAMILY: Family = Family::V4;

/// Between two new connections.
const PACE: Duration = Duration::from_millis(20);

#[test]
fn a_first_proxy_with_a_wrong_password_costs_no_connection() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted()];
        let (_mute, _) = shadowsocks::libev(FAMILY, METHOD);
        let (_good, good) = shadowsocks::rust(FAMILY, METHOD);
        let wrong = shadowsocks::libev_with_wrong_password(FAMILY, METHOD);
        let proxies = [named("first", &wrong), named("second", &good)];
        let snet = Snet::start(Variant::Nft, &Config::through(FAMILY, &proxies));
        wait::until("the second has answered", Duration::from_secs(5), || {
            snet.log().contains("INFO answers,")
        });
        for _ in 0..50 {
            let mut stream = connect(FOREIGN_SITE.port(FAMILY, service::ECHO));
            echo(&mut stream, b"hello").unwrap_or_else(|error| panic!("{error}\n{}", snet.log()));
        }
        assert!(dig("+short foreign.example").contains("203.0.113.10"), "{}", snet.log());
        wait::until("the first is told of", Duration::from_secs(10), || {
            let warnings = snet.lines("WARN").join("\n");
            warnings.contains("is down: it takes connections") && warnings.contains("password")
        });
        snet.stop();
    });
}

#[test]
fn the_death_of_a_proxy_costs_no_connection() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted()];
        let (first, one) = shadowsocks::rust(FAMILY, METHOD);
        let (_second, other) = shadowsocks::second(FAMILY, METHOD);
        let config = Config::through(FAMILY, &[named("first", &one), named("second", &other)]);
        let snet = Snet::start(Variant::Nft, &config);
        wait::until("both have answered", Duration::from_secs(5), || {
            snet.log().matches("INFO answers,").count() == 2
        });
        // Its host is gone: not even a reset comes.
        let port = PROXY.port(FAMILY, 8389).port();
        let silent = format!("iptables -I INPUT -p tcp --dport {port} -j DROP");
        under_load(&snet, "a silent host", || drop(sh(Place::Internet, &silent)));
        sh(Place::Internet, &silent.replace("-I", "-D"));
        back_within_a_minute(&snet);
        let first = Mutex::new(Some(first));
        under_load(&snet, "a killed server", || kill(first.lock().expect("no panic").take()));
        let (_first, _) = shadowsocks::rust(FAMILY, METHOD);
        back_within_a_minute(&snet);
        snet.stop();
    });
}

fn named(name: &str, proxy: &str) -> String {
    format!("name = \"{name}\"\n{proxy}")
}

fn kill(server: Option<Running>) {
    let mut server = server.expect("it runs");
    server.signal(Signal::SIGKILL);
    server.wait(Duration::from_secs(5));
}

/// Fifty new connections a second for six seconds; the server dies after two.
fn under_load(snet: &Snet, what: &str, dies: impl Fn() + Sync) {
    let failures: Mutex<Vec<String>> = Mutex::default();
    let waits: Mutex<Vec<Duration>> = Mutex::default();
    let (began, length) = (Instant::now(), Duration::from_secs(6));
    scope(|scope| {
        scope.spawn(|| {
            sleep(Duration::from_secs(2));
            dies();
        });
        while began.elapsed() < length {
            scope.spawn(|| {
                let at = began.elapsed();
                let begun = Instant::now();
                let served = try_connect(FOREIGN_SITE.port(FAMILY, service::ECHO))
                    .and_then(|mut stream| echo(&mut stream, b"hello"));
                match served {
                    Ok(()) => waits.lock().expect("no panic").push(begun.elapsed()),
                    Err(error) => {
                        failures.lock().expect("no panic").push(format!("{at:?} {error}"))
                    }
                }
            });
            sleep(PACE);
        }
    });
    let failures = failures.into_inner().expect("no panic");
    let waits = waits.into_inner().expect("no panic");
    let longest = waits.iter().max();
    println!("{what}: {} served, the longest in {longest:?}", waits.len());
    assert!(failures.is_empty(), "{what}: {failures:?}\n{}", snet.log());
    assert!(waits.len() > 100, "only {} connections", waits.len());
}

fn back_within_a_minute(snet: &Snet) {
    let began = snet.log().len();
    wait::until("the first is used again", Duration::from_secs(60), || {
        let mut stream = connect(FOREIGN_SITE.port(FAMILY, service::ECHO));
        let _ = echo(&mut stream, b"hello");
        drop(stream);
        sleep(Duration::from_millis(200));
        snet.log()[began..].contains("via=\"first\"")
    });
}
