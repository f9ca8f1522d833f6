//! Half a gigabyte down and up, and not a bit of it changed; and that domestic bytes never enter
//! the process.

use crate::client::curl;
use crate::counters::Counters;
use crate::digest::Digest;
use crate::peer::{nginx, service};
use crate::process::{Place, command};
use crate::snet::{Config, Snet};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{DOMESTIC_SITE, FOREIGN_SITE, Family, sealed};
use std::process::Stdio;

const SIZE: u64 = 512 << 20;

#[test]
fn half_a_gigabyte_through_shadowsocks() {
    sealed(|| half_a_gigabyte(Variant::Nft, Family::V4, Upstream::Libev("aes-256-gcm")));
}

#[test]
fn half_a_gigabyte_through_http() {
    sealed(|| half_a_gigabyte(Variant::Legacy, Family::V6, Upstream::Squid));
}

fn half_a_gigabyte(variant: Variant, family: Family, upstream: Upstream) {
    let file = nginx::file(SIZE);
    let digest = Digest::of_file(&file);
    let _sites = nginx::sites(Some(&file));
    service::start();
    let counters = Counters::start();
    let (_server, proxy) = upstream.start(family);
    let snet = Snet::start(variant, &Config::through(family, &[proxy]));

    // The kernel alone carries what is domestic.
    let used = snet.cpu_ticks();
    assert_eq!(digest_of(&format!("http://{}/file", DOMESTIC_SITE.port(family, 80))), digest);
    assert_eq!(counters.captured(), 0, "a domestic connection was redirected");
    assert!(counters.domestic() > 1000, "nothing went to the domestic site");
    let used = snet.cpu_ticks() - used;
    assert!(used < 20, "snet worked {used} ticks while only domestic bytes flowed");

    assert_eq!(digest_of(&format!("http://{}/file", FOREIGN_SITE.port(family, 80))), digest);
    let up = format!("http://{}/", FOREIGN_SITE.port(family, service::UPLOAD));
    let up = curl(&["-T", &file.display().to_string(), &up]);
    assert_eq!(up.stdout, digest, "{}", up.stderr);
    assert_eq!(counters.captured(), 2);
    assert_eq!(counters.leaked(), 0);
    snet.stop();
}

/// Downloads and digests as it comes.
pub fn digest_of(url: &str) -> String {
    let mut curl = command(Place::Machine, "curl");
    let mut child = curl
        .args(["-sS", "--fail", "--noproxy", "*", "--max-time", "240", url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl starts");
    let mut stdout = child.stdout.take().expect("stdout is a pipe");
    let digest = Digest::of_reader(&mut stdout).expect("a pipe can be read");
    let status = child.wait().expect("a child can be waited for");
    assert!(status.success(), "curl {url}: {status}");
    digest
}
