//! `firewall.offload`: a household's domestic downloads take the kernel's short way, and nothing
//! else does. On a kernel without flowtables nothing is lost, and the cause is said once.

use crate::counters::Counters;
use crate::digest::Digest;
use crate::peer::nginx;
use crate::process::{Place, command, finish, sh};
use crate::router::{LAN, router};
use crate::snet::{self, Config, Snet};
use crate::tables::{assert_same, snapshot};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{DOMESTIC_SITE, FAMILIES, FOREIGN_SITE, Family, Host, MACHINE, sealed};
use std::fs::File;
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// In the daemon's own words, and in the kernel's.
fn has_flowtables() -> bool {
    let table = "table inet trial { flowtable ft { hook ingress priority 0; devices = { lo }; }; }";
    finish(command(Place::Machine, "nft").args(["-c", table])).status.success()
}

/// Flows of the guest to this host that conntrack knows as offloaded, or as not.
fn flows(to: Host, family: Family, offloaded: bool) -> usize {
    let address = match to.ip(family) {
        IpAddr::V4(v4) => format!("dst={v4} "),
        IpAddr::V6(v6) => {
            let groups: Vec<String> = v6.segments().iter().map(|it| format!("{it:04x}")).collect();
            format!("dst={} ", groups.join(":"))
        }
    };
    let known = sh(Place::Machine, "cat /proc/net/nf_conntrack");
    // Of an offloaded flow the kernel shows no state.
    let wanted = if offloaded { "[OFFLOAD]" } else { "ESTABLISHED" };
    known.lines().filter(|line| line.contains(wanted) && line.contains(&address)).count()
}

/// A download that waits until it is read: the file is larger than all buffers on its way to the
/// guest.
struct Held(Child);

impl Held {
    fn begin(from: Host, family: Family) -> Self {
        let mut curl = LAN.command("curl");
        let url = format!("http://{}/file", from.port(family, 80));
        curl.args(["-sS", "--fail", "--max-time", "300", &url]).stdout(Stdio::piped());
        Held(curl.spawn().expect("curl starts"))
    }

    fn digest(mut self, name: &str) -> String {
        let got = format!("/run/lab/{name}");
        let mut file = File::create(&got).expect("the tmpfs is writable");
        let mut read = self.0.stdout.take().expect("it is piped");
        std::io::copy(&mut read, &mut file).expect("the tmpfs has room");
        assert!(self.0.wait().expect("it ends").success(), "{name}");
        Digest::of_file(got.as_ref())
    }
}

#[test]
fn domestic_downloads_take_the_short_way() {
    sealed(|| {
        let file = nginx::file(16 << 20);
        let digest = Digest::of_file(&file);
        let _sites = nginx::sites(Some(&file));
        LAN.move_in(Variant::Native);
        let counters = Counters::start();
        let before = snapshot();
        let (_server, proxy) = Upstream::Libev("aes-128-gcm").start(Family::V4);
        let mut config = router(Family::V4, proxy).by(Variant::Native);
        Config::set(&mut config.firewall, "offload", "\"auto\"");
        let path = config.write();
        let daemon = Snet::ready(snet::snet(Variant::Native).arg("-c").arg(&path));
        let has_flowtables = has_flowtables();
        let told = daemon.whole_log();
        let told = told.lines().filter(|line| line.contains("offload")).collect::<Vec<_>>();
        let expected = if has_flowtables { "between br-lan, uplink" } else { "has no flowtables" };
        assert!(told.len() == 1 && told[0].contains(expected), "{told:?}");
        let shown = snet::run(Variant::Native, &["check", "-c", &path.display().to_string()]);
        let shown = shown.stdout + &shown.stderr;
        assert!(shown.contains(expected), "{shown}");
        for family in FAMILIES {
            let who = |site: Host| {
                let url = format!("http://{}/who", site.port(family, 80));
                LAN.curl(&["--fail", &url]).stdout.trim().to_owned()
            };
            assert_eq!(who(FOREIGN_SITE), FOREIGN_SITE.ip(family).to_string(), "by the proxy");
            assert_eq!(who(DOMESTIC_SITE), MACHINE.ip(family).to_string(), "directly");
            let domestic = Held::begin(DOMESTIC_SITE, family);
            let foreign = Held::begin(FOREIGN_SITE, family);
            wait::until("both downloads", SOON, || {
                let domestic = flows(DOMESTIC_SITE, family, has_flowtables);
                domestic == 1 && flows(FOREIGN_SITE, family, false) > 0
            });
            assert_eq!(flows(FOREIGN_SITE, family, true), 0, "foreign");
            // What was domestic is blocked from now on: this download goes on, in sight.
            let blocked = format!("[\"{}\"]", DOMESTIC_SITE.ip(family));
            let mut block = config.clone();
            Config::set(&mut block.rules, "block", &blocked);
            reload(&path, &block);
            wait::until("the long way", SOON, || flows(DOMESTIC_SITE, family, true) == 0);
            let url = format!("http://{}/who", DOMESTIC_SITE.port(family, 80));
            assert!(matches!(LAN.curl(&[&url]).code(), Some(7 | 56)), "a new one is refused");
            assert_eq!(domestic.digest("domestic"), digest);
            assert_eq!(flows(DOMESTIC_SITE, family, true), 0, "by the long way to its end");
            assert_eq!(foreign.digest("foreign"), digest);
            reload(&path, &config);
            assert_eq!(who(DOMESTIC_SITE), MACHINE.ip(family).to_string());
        }
        assert_eq!(counters.leaked(), 0, "foreign packets left the machine");
        daemon.stop();
        assert_same(&before, &snapshot());
    });
}

fn reload(path: &std::path::Path, config: &Config) {
    std::fs::write(path, config.text()).expect("the tmpfs is writable");
    let finished = snet::run(Variant::Native, &["reload"]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
}
