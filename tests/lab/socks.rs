//! UDP through SOCKS5: dante carries it, microsocks says that it does not.

use crate::counters::Counters;
use crate::datagrams::talker::Talker;
use crate::peer::{service, socks};
use crate::snet::{self, Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family, sealed};
use std::time::Duration;

fn start(family: Family, line: String) -> Snet {
    let mut config = Config::through(family, &[line]);
    config.firewall.push("udp = \"proxy\"".into());
    let file = config.by(Variant::Nft).write();
    Snet::ready(snet::snet(Variant::Nft).arg("-vv").arg("-c").arg(file))
}

#[test]
fn datagrams_through_dante() {
    sealed(|| {
        service::start();
        let counters = Counters::start();
        for family in [Family::V4, Family::V6] {
            let (proxy, line) = Upstream::Dante.start(family);
            let snet = start(family, line);
            let leaked = counters.leaked();
            let talkers: Vec<_> =
                (0..3).map(|_| Talker::to(FOREIGN_SITE.port(family, service::ECHO))).collect();
            for talker in &talkers {
                for length in [1, 1200, 1400] {
                    let text = vec![b'x'; length];
                    assert!(talker.is_answered(&text), "{length} bytes: {}", snet.log());
                }
            }
            // The association ends with its server, and another one is made with the next.
            socks::kill(proxy);
            assert!(!talkers[0].is_answered(b"down"));
            let (_proxy, _) = Upstream::Dante.start(family);
            wait::until("a new association", Duration::from_secs(20), || {
                talkers[0].is_answered(b"up again")
            });
            assert_eq!(counters.leaked(), leaked, "something left directly");
            snet.stop();
        }
    });
}

#[test]
fn a_server_without_udp_is_named() {
    sealed(|| {
        service::start();
        let counters = Counters::start();
        let (_proxy, line) = Upstream::Microsocks.start(Family::V4);
        let snet = start(Family::V4, line);
        let talker = Talker::to(FOREIGN_SITE.port(Family::V4, service::ECHO));
        assert!(!talker.is_answered(b"hello"));
        let warnings = snet.lines("WARN").join("\n");
        assert!(warnings.contains("carries no UDP: command not supported"), "{}", snet.log());
        assert!(warnings.contains("udp = false"), "{warnings}");
        assert_eq!(counters.leaked(), 0);
        // Its TCP is not blamed.
        crate::client::echo(
            &mut crate::client::connect(FOREIGN_SITE.port(Family::V4, service::ECHO)),
            b"hello",
        )
        .expect("TCP goes through it");
        snet.stop();
    });
}
