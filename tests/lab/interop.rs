//! Through sing-box and mihomo, in both families: all that a program sees of a connection and of
//! datagrams. Both programs are large, and no packages of Debian: `scripts/interop.sh` brings them
//! and runs these tests.

use crate::peer::many_protocols::{ManyProtocols, Served};
use crate::peer::{service, shadowsocks};
use crate::sip022::{everything, through};
use crate::world::{FAMILIES, sealed};

fn with_shadowsocks(program: ManyProtocols) {
    for method in shadowsocks::METHODS.into_iter().chain(shadowsocks::METHODS_2022) {
        let [password, ..] = shadowsocks::passwords(method);
        with(program, Served::Shadowsocks(method, password));
    }
}

fn with(program: ManyProtocols, served: Served) {
    for family in FAMILIES {
        println!("{served:?} {family:?}");
        let (_server, proxy) = program.start(family, served);
        match served {
            Served::Http | Served::Https => through(family, proxy, &[]),
            _ => everything(family, proxy),
        }
    }
}

#[test]
#[ignore = "sing-box comes with scripts/interop.sh"]
fn shadowsocks_of_sing_box() {
    sealed(|| {
        service::start();
        with_shadowsocks(ManyProtocols::SingBox);
    });
}

#[test]
#[ignore = "mihomo comes with scripts/interop.sh"]
fn shadowsocks_of_mihomo() {
    sealed(|| {
        service::start();
        with_shadowsocks(ManyProtocols::Mihomo);
    });
}

#[test]
#[ignore = "sing-box comes with scripts/interop.sh"]
fn socks_of_sing_box() {
    sealed(|| {
        service::start();
        with(ManyProtocols::SingBox, Served::Socks);
    });
}

#[test]
#[ignore = "mihomo comes with scripts/interop.sh"]
fn socks_of_mihomo() {
    sealed(|| {
        service::start();
        with(ManyProtocols::Mihomo, Served::Socks);
    });
}

#[test]
#[ignore = "sing-box comes with scripts/interop.sh"]
fn http_of_sing_box() {
    sealed(|| {
        service::start();
        with(ManyProtocols::SingBox, Served::Http);
    });
}

#[test]
#[ignore = "mihomo comes with scripts/interop.sh"]
fn http_of_mihomo() {
    sealed(|| {
        service::start();
        with(ManyProtocols::Mihomo, Served::Http);
    });
}

#[test]
#[ignore = "sing-box comes with scripts/interop.sh"]
fn https_of_sing_box() {
    sealed(|| {
        service::start();
        with(ManyProtocols::SingBox, Served::Https);
    });
}

#[test]
#[ignore = "mihomo comes with scripts/interop.sh"]
fn https_of_mihomo() {
    sealed(|| {
        service::start();
        with(ManyProtocols::Mihomo, Served::Https);
    });
}
