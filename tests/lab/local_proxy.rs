//! A proxy client on this machine: tinyproxy on a loopback address, that goes on to a proxy server
//! in the internet. Left alone it serves; else its own connections come back, and that ends at
//! once.

use crate::cgroup::Cgroups;
use crate::client::curl;
use crate::counters::Counters;
use crate::peer::{http_proxy, names, service};
use crate::process::{FOLDER, Finished, Running};
use crate::snet::{self, Config, Snet};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family, PROXY, sealed_for};
use snet_lab::in_every_variant;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

in_every_variant!(a_service_is_left_alone, one_that_is_like_everybody);

/// Whether the proxy answers, in the seconds that three rounds take: at once, and then after 1, 2,
/// 4 and 8 seconds.
const QUESTIONS: u64 = 5;

const LOCAL: &str = "127.0.0.1:7890";

fn a_service_is_left_alone(variant: Variant) {
    let groups = Cgroups::mount();
    let service = Cgroups::name("proxy.service");
    groups.make(&service);
    let scene = Scene::begin();
    let local = groups.within(&service, || scene.local_proxy(true));
    let mut config = scene.config();
    let snet = Snet::start(variant, &config);
    for round in 1..=3 {
        let began = Instant::now();
        let finished = scene.upload();
        assert!(!finished.status.success(), "nobody may go round in circles");
        assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
        // That of curl, and the first of tinyproxy; the proxy may rest by now. Besides, those that
        // questions of snet's own have led to.
        let captured = scene.counters.captured();
        assert!(captured <= 2 * round + QUESTIONS, "{captured}");
        let said = snet.lines("ERROR");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains(&format!("write rules.direct-cgroups = ['{service}']")),
            "{said:?}"
        );
    }
    assert_eq!((scene.counters.leaked(), scene.counters.unmarked()), (0, 0));
    snet.stop();

    let advice =
        snet::run(variant, &["check", "-c", &config.by(variant).write().display().to_string()]);
    assert!(advice.stderr.contains(&format!("rules.direct-cgroups = ['{service}']")), "{advice:?}");
    Config::set(&mut config.rules, "direct-cgroups", &format!("['{service}']"));
    let advice =
        snet::run(variant, &["check", "-c", &config.by(variant).write().display().to_string()]);
    assert_eq!(advice.stderr, "");
    let snet = Snet::start(variant, &config);
    wait::until("the question is answered", Duration::from_secs(10), || {
        snet.log().contains("INFO answers,")
    });
    scene.serves();

    // The service is started again: another cgroup of the same path.
    drop(local);
    groups.remove(&service);
    wait::until("it is gone", Duration::from_secs(10), || snet.log().contains("is gone"));
    groups.make(&service);
    wait::until("it is there", Duration::from_secs(10), || snet.log().contains("is there"));
    let _local = groups.within(&service, || scene.local_proxy(true));
    // It was down while it was away.
    wait::until("it answers", Duration::from_secs(20), || scene.upload().status.success());
    scene.serves();
    assert!(snet.lines("ERROR").is_empty(), "{:?}", snet.lines("ERROR"));
    snet.stop();
}

/// Of the user and the cgroup of everybody else: what is its own shows only by going on and on.
fn one_that_is_like_everybody(variant: Variant) {
    let scene = Scene::begin();
    for goes_on in [true, false] {
        let _local = scene.local_proxy(goes_on);
        let snet = Snet::start(variant, &scene.config());
        let captured = scene.counters.captured();
        assert!(!scene.upload().status.success(), "nobody may go round in circles");
        let turns = scene.counters.captured() - captured;
        assert!(turns <= 40, "{turns} turns");
        let said = snet.lines("ERROR");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("as a user of its own"), "{said:?}");
        assert_eq!((scene.counters.leaked(), scene.counters.unmarked()), (0, 0));
        snet.stop();
    }
}

struct Scene {
    counters: Counters,
    _server: Running,
    _names: Running,
}

impl Scene {
    fn begin() -> Self {
        service::start();
        let (server, _) = http_proxy::tinyproxy(Family::V4);
        fs::write(Path::new(FOLDER).join("hello"), "hello").expect("the tmpfs is writable");
        // Who answers the question whether anything comes back through the proxy.
        let names = names::trusted();
        Scene { counters: Counters::start(), _server: server, _names: names }
    }

    /// tinyproxy on this machine; it goes on to the proxy server, or to the sites themselves.
    fn local_proxy(&self, goes_on: bool) -> Running {
        let upstream = goes_on.then(|| PROXY.port(Family::V4, http_proxy::TINYPROXY_PORT));
        http_proxy::local_tinyproxy(local(), upstream)
    }

    fn config(&self) -> Config {
        Config::through(Family::V4, &[snet::http_proxy(local(), None)])
    }

    fn upload(&self) -> Finished {
        let file = Path::new(FOLDER).join("hello").display().to_string();
        let url = format!("http://{}/", FOREIGN_SITE.port(Family::V4, service::UPLOAD));
        curl(&["--fail", "--max-time", "20", "-T", &file, &url])
    }

    fn serves(&self) {
        let counters = Counters::restart();
        let finished = self.upload();
        assert!(finished.status.success(), "{finished:?}");
        assert_eq!(counters.captured(), 1);
        assert_eq!(counters.unmarked(), 1, "of the local proxy, to its server");
        assert_eq!(counters.leaked(), 0);
    }
}

fn local() -> SocketAddr {
    LOCAL.parse().expect("an address")
}
