//! Several proxies: one that carries nothing is passed over from the start, and the death of one
//! costs no connection.

use crate::client::{connect, echo, try_connect};
use crate::peer::{names, service, shadowsocks};
use crate::process::{Place, Running, finish, sh};
use crate::snet::{self, Config, Snet, dig};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family, PROXY, sealed};
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
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
        under_load(&snet, "a silent host", b"hello", || drop(sh(Place::Internet, &silent)));
        sh(Place::Internet, &silent.replace("-I", "-D"));
        back_within_a_minute(&snet);
        let first = Mutex::new(Some(first));
        let killed = || kill(first.lock().expect("no panic").take());
        under_load(&snet, "a killed server", &hello(), killed);
        let (_first, _) = shadowsocks::rust(FAMILY, METHOD);
        back_within_a_minute(&snet);
        snet.stop();
    });
}

/// Connections are dialled ahead, and some are ready when the server goes: what a program sends on
/// one of them gets no answer. A hello of TLS is said again elsewhere.
#[test]
fn the_death_of_a_far_proxy_costs_no_connection_of_tls() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted()];
        let (first, one) = shadowsocks::rust(FAMILY, METHOD);
        let (_second, other) = shadowsocks::second(FAMILY, METHOD);
        let config = Config::through(FAMILY, &[named("first", &one), named("second", &other)]);
        let config = config.by(Variant::Nft).write();
        let mut command = snet::snet(Variant::Nft);
        let snet = Snet::ready(command.env("SNET_FAULT", "far").arg("-c").arg(config));
        wait::until("both have answered", Duration::from_secs(5), || {
            snet.log().matches("INFO answers,").count() == 2
        });
        let port = PROXY.port(FAMILY, 8389).port();
        let silent = format!("iptables -I INPUT -p tcp --dport {port} -j DROP");
        let hello = hello();
        under_load(&snet, "a silent host", &hello, || drop(sh(Place::Internet, &silent)));
        sh(Place::Internet, &silent.replace("-I", "-D"));
        back_within_a_minute(&snet);
        // It takes connections still, since the kernel does.
        under_load(&snet, "a server that hangs", &hello, || first.signal(Signal::SIGSTOP));
        first.signal(Signal::SIGCONT);
        back_within_a_minute(&snet);
        let first = Mutex::new(Some(first));
        let killed = || kill(first.lock().expect("no panic").take());
        under_load(&snet, "a killed server", &hello, killed);
        let status = finish(snet::snet(Variant::Nft).arg("status")).stdout;
        assert!(status.contains("; dialled ahead: "), "{status}");
        snet.stop();
    });
}

/// Connections that are open at the death; SNET_LAB_OPEN sets another number.
const OPEN: usize = 100;

/// What is open on a member that dies ends, so that its programs dial again, and they get through.
#[test]
fn what_lives_on_a_dead_proxy_is_reset() {
    let open = std::env::var("SNET_LAB_OPEN").ok().and_then(|text| text.parse().ok());
    sealed(|| with_open(open.unwrap_or(OPEN), ""));
}

/// Unless the operator wants it kept.
#[test]
fn what_lives_on_a_dead_proxy_is_kept() {
    let group =
        "[[group]]\nname = \"all\"\nmembers = [\"first\", \"second\"]\non-death = \"keep\"\n";
    sealed(|| with_open(20, group));
}

fn with_open(count: usize, group: &str) {
    service::start();
    let _names = [names::domestic(), names::trusted()];
    let (first, one) = shadowsocks::rust(FAMILY, METHOD);
    let (_second, other) = shadowsocks::second(FAMILY, METHOD);
    let proxies = [named("first", &one), named("second", &other)];
    let text = format!("{}\n{group}", Config::through(FAMILY, &proxies).by(Variant::Nft).text());
    let mut command = snet::snet(Variant::Nft);
    let snet = Snet::ready(command.arg("-c").arg(snet::write_config(&text)));
    wait::until("both have answered", Duration::from_secs(5), || {
        snet.log().matches("INFO answers,").count() == 2
    });
    let port = PROXY.port(FAMILY, 8389).port();
    let silent = format!("iptables -I INPUT -p tcp --dport {port} -j DROP");
    let opened: Vec<_> = (0..count).map(|_| opened()).collect();
    let (died, ends) = (Mutex::new(None), opened.iter());
    under_load(&snet, "a silent host", b"hello", || {
        drop(sh(Place::Internet, &silent));
        *died.lock().expect("no panic") = Some(Instant::now());
    });
    let died = died.into_inner().expect("no panic").expect("it died");
    let mut lives: Vec<_> = ends.collect();
    while !lives.is_empty() && died.elapsed() < Duration::from_secs(20) {
        lives.retain(|stream| is_open(stream));
        sleep(PACE);
    }
    println!("{count} open: {} live, after {:?}", lives.len(), died.elapsed());
    match group.is_empty() {
        true => none_hangs(&lives, count, &snet),
        false => assert_eq!(lives.len(), count, "some were reset: {}", snet.log()),
    }
    drop(opened);
    sh(Place::Internet, &silent.replace("-I", "-D"));
    back_within_a_minute(&snet);
    if group.is_empty() {
        let opened: Vec<_> = (0..count).map(|_| self::opened()).collect();
        let first = Mutex::new(Some(first));
        let killed = || kill(first.lock().expect("no panic").take());
        under_load(&snet, "a killed server", &hello(), killed);
        let lives: Vec<_> = opened.iter().filter(|stream| is_open(stream)).collect();
        none_hangs(&lives, count, &snet);
    }
    snet.stop();
}

/// Of so many that were open, those that live work: on a machine that stands still for a moment the
/// second server carries some.
fn none_hangs(lives: &[&TcpStream], count: usize, snet: &Snet) {
    assert!(lives.len() < count / 2, "{} of {count} were not reset: {}", lives.len(), snet.log());
    for mut stream in lives.iter().copied() {
        stream.set_nonblocking(false).expect("it is open");
        stream.write_all(b"still?").expect("it is open");
        let mut heard = [0; 6];
        let answered = stream.read_exact(&mut heard);
        assert!(answered.is_ok(), "one hangs: {}", snet.log());
    }
}

/// A connection that works.
fn opened() -> TcpStream {
    let mut stream = connect(FOREIGN_SITE.port(FAMILY, service::ECHO));
    echo(&mut stream, b"hello").expect("an echo");
    stream.set_nonblocking(true).expect("it is open");
    stream
}

/// Whether neither end nor reset has come.
fn is_open(mut stream: &TcpStream) -> bool {
    stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// A ClientHello (RFC 8446, 4.1.2) with one cipher suite and no extension, in its record.
fn hello() -> Vec<u8> {
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0, 0, 0]].concat();
    let length = body.len() as u8;
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

fn named(name: &str, proxy: &str) -> String {
    format!("name = \"{name}\"\n{proxy}")
}

fn kill(server: Option<Running>) {
    let mut server = server.expect("it runs");
    server.signal(Signal::SIGKILL);
    server.wait(Duration::from_secs(5));
}

/// Fifty new connections a second for six seconds; the server dies after two. (One that has the
/// first bytes in hand when it is killed has perhaps acted on them, unless they are a hello.)
fn under_load(snet: &Snet, what: &str, says: &[u8], dies: impl Fn() + Sync) {
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
                    .and_then(|mut stream| echo(&mut stream, says));
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
        snet.log()[began..].contains("proxy=\"first\" up=")
    });
}
