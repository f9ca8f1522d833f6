//! HTTP proxies that allow CONNECT to port 443 only, as squid's package does: what works, and what
//! the operator reads of the rest.

use crate::client::{connect, echo, failure};
use crate::peer::{http_proxy, names, service};
use crate::snet::{Config, Snet, dig};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FAMILIES, FOREIGN_SITE, TRUSTED_NAMES, sealed};
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

/// TCP port 443 of the foreign site echoes.
fn serve_443() {
    for family in FAMILIES {
        service::tcp(FOREIGN_SITE.port(family, 443), |mut stream| {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
        });
    }
}

#[test]
fn what_is_refused_is_said_with_its_remedy() {
    sealed(|| {
        service::start();
        serve_443();
        let _names = [names::domestic(), names::trusted()];
        for family in FAMILIES {
            for squid in [true, false] {
                let (_server, proxy) = match squid {
                    true => http_proxy::squid_as_shipped(family),
                    false => http_proxy::tinyproxy_with(family, "ConnectPort 443\nConnectPort 563"),
                };
                let snet = Snet::start(Variant::Nft, &Config::through(family, &[proxy]));
                let end = failure(FOREIGN_SITE.port(family, service::ECHO));
                assert_eq!(end, ErrorKind::ConnectionReset);
                let hint = format!("does it allow CONNECT to port {}?", service::ECHO);
                wait::until("the hint", Duration::from_secs(4), || snet.log().contains(&hint));
                // The proxy works: the next connection is tried at once.
                let mut stream = connect(FOREIGN_SITE.port(family, 443));
                echo(&mut stream, b"hello").expect("port 443 is allowed");
                assert!(dig("foreign.example").contains("SERVFAIL"), "{}", snet.log());
                let server = TRUSTED_NAMES.ip(family);
                let warnings = snet.lines("WARN").join("\n");
                for said in [
                    format!(
                        "does not connect to the name server {server}: allow CONNECT to port 53"
                    ),
                    "https://dns.google/dns-query@8.8.8.8".into(),
                ] {
                    assert!(warnings.contains(&said), "{said}\n{}", snet.log());
                }
                assert!(!warnings.contains("is down"), "{warnings}");
                snet.stop();
            }
        }
    });
}
