//! Another network while snet runs: what hung on the old one is begun anew, at once.

use crate::client::{connect, echo};
use crate::peer::{names, service};
use crate::process::{Place, sh};
use crate::snet::{Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family, sealed};
use std::time::{Duration, Instant};

/// Less than the two seconds after which a silent connection is given up.
const PROMPTLY: Duration = Duration::from_millis(1500);

#[test]
fn names_are_answered_at_once_in_another_network() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let snet = Snet::start(Variant::Native, &Config::through(Family::V4, &[proxy]));
        assert!(dig("+short foreign.example").contains("203.0.113.10"));
        // Not a word to the kept connection: its address is gone.
        for command in [
            "ip address del 10.0.2.2/24 dev uplink",
            "ip address add 10.0.2.77/24 dev uplink",
            "ip route replace default via 10.0.2.1 dev uplink",
        ] {
            sh(Place::Machine, command);
        }
        wait::until("it is noticed", Duration::from_secs(10), || {
            snet.log().contains("another default route")
        });
        everything_is_prompt(&snet);
        // A change that is none is not said. (The change above may have been seen in two steps.)
        let told = || {
            std::thread::sleep(Duration::from_secs(3));
            snet.log().matches("another default route").count()
        };
        let before = told();
        sh(Place::Machine, "ip address add fe80::77/64 dev uplink nodad");
        assert_eq!(told(), before, "{}", snet.log());
        snet.stop();
    });
}

/// Names are asked over new connections, and programs are served.
pub fn everything_is_prompt(snet: &Snet) {
    let began = Instant::now();
    let answer = dig("+short AAAA foreign.example");
    assert!(answer.contains("2001:db8:f::10"), "{answer}\n{}", snet.log());
    assert!(began.elapsed() < PROMPTLY, "{:?}\n{}", began.elapsed(), snet.log());
    let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
    echo(&mut stream, b"hello").expect("an echo");
}
