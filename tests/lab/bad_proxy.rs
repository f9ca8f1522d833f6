//! Proxies that fail: the client is told at once, the operator in words, and nobody else suffers.

use crate::client::{connect, echo, failure};
use crate::counters::Counters;
use crate::peer::http_proxy::{SQUID_PORT, USER};
use crate::peer::malformed_proxy::{self, LIES, Lie};
use crate::peer::{names, service, shadowsocks};
use crate::snet::{Config, Snet, http_proxy};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{FAMILIES, FOREIGN_SITE, PROXY, sealed};
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

/// `connect-timeout` is 2 s.
const PROMPT: Duration = Duration::from_secs(4);

/// What the operator reads.
fn words(lie: Lie) -> &'static str {
    match lie {
        Lie::Hang => "no answer within",
        Lie::Refuse => "refused",
        Lie::Garbage | Lie::Endless | Lie::Half => "does not speak HTTP CONNECT",
        Lie::Close => "broke off the handshake",
        Lie::Unavailable => "503",
    }
}

#[test]
fn liars_are_found_out() {
    sealed(|| {
        service::start();
        // One that refuses the resolver's first questions would be a warning of its own.
        let _names = names::domestic();
        let counters = Counters::start();
        for family in FAMILIES {
            for lie in LIES {
                println!("{lie:?} {family:?}");
                let proxy = malformed_proxy::start(family, lie);
                let mut snet = Snet::start(Variant::Nft, &Config::through(family, &[proxy]));
                let began = Instant::now();
                let end = failure(FOREIGN_SITE.port(family, service::ECHO));
                assert_eq!(end, ErrorKind::ConnectionReset);
                assert!(began.elapsed() < PROMPT, "reset after {:?}", began.elapsed());
                wait::until(&format!("{:?} in the log", words(lie)), PROMPT, || {
                    snet.log().contains(words(lie))
                });
                // 503 speaks of one target and is told as such. Silence is told once a question of
                // snet's own has met it too.
                let expected = usize::from(!matches!(lie, Lie::Unavailable));
                wait::until("the warning", PROMPT, || snet.lines("WARN").len() >= expected);
                let warnings = snet.lines("WARN");
                assert_eq!(warnings.len(), expected, "one line in words: {warnings:#?}");
                snet.assert_alive();
                snet.stop();
            }
        }
        assert_eq!(counters.leaked(), 0);
    });
}

#[test]
fn wrong_http_password_is_named() {
    sealed(|| {
        service::start();
        for family in FAMILIES {
            let (_squid, _) = Upstream::Squid.start(family);
            let wrong = http_proxy(PROXY.port(family, SQUID_PORT), Some((USER, "sesame open")));
            let snet = Snet::start(Variant::Nft, &Config::through(family, &[wrong]));
            let began = Instant::now();
            let end = failure(FOREIGN_SITE.port(family, service::ECHO));
            assert_eq!(end, ErrorKind::ConnectionReset);
            assert!(began.elapsed() < PROMPT, "reset after {:?}", began.elapsed());
            let warnings = snet.lines("WARN").join("\n");
            assert!(warnings.contains("user name or password"), "{}", snet.log());
            assert!(!snet.log().contains("sesame open"), "the log tells the password");
            snet.stop();
        }
    });
}

#[test]
fn wrong_shadowsocks_password_is_suspected_after_three() {
    sealed(|| {
        service::start();
        for family in FAMILIES {
            for method in shadowsocks::METHODS {
                let (_server, _) = shadowsocks::libev(family, method);
                let wrong = shadowsocks::libev_with_wrong_password(family, method);
                let snet = Snet::start(Variant::Legacy, &Config::through(family, &[wrong]));
                let suspicions = || {
                    let warnings = snet.lines("WARN");
                    warnings.iter().filter(|line| line.contains("password")).count()
                };
                for number in 0..9 {
                    // One that is silent again and again says nothing of the proxy.
                    assert_eq!(suspicions(), usize::from(number >= 5), "{}", snet.log());
                    let port = if number < 4 { service::ECHO } else { service::HASH };
                    let mut stream = connect(FOREIGN_SITE.port(family, port));
                    stream.write_all(b"hello").expect("a reader");
                    std::thread::sleep(Duration::from_millis(100));
                    let closed = || {
                        snet.log().matches("closed").count()
                            + snet.log().matches("broke off").count()
                    };
                    drop(stream);
                    wait::until("the end in the log", PROMPT, || closed() > number);
                }
                assert_eq!(suspicions(), 1, "it is said once");
                snet.stop();
            }
        }
    });
}

#[test]
fn the_next_proxy_takes_over() {
    sealed(|| {
        service::start();
        for family in FAMILIES {
            for lie in [Lie::Refuse, Lie::Hang, Lie::Garbage, Lie::Close] {
                let (_server, good) = Upstream::Libev("aes-128-gcm").start(family);
                let bad = malformed_proxy::start(family, lie);
                let snet = Snet::start(Variant::Nft, &Config::through(family, &[bad, good]));
                for _ in 0..3 {
                    let mut stream = connect(FOREIGN_SITE.port(family, service::ECHO));
                    echo(&mut stream, b"hello").unwrap_or_else(|error| {
                        panic!("{lie:?} {family:?}: {error}\n{}", snet.log())
                    });
                }
                snet.stop();
            }
        }
    });
}
