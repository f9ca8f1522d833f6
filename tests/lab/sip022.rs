//! Shadowsocks 2022 through ssserver: every method, both families, connections and datagrams,
//! a server of several users, and a server that restarts.

use crate::client::{connect, echo, try_connect};
use crate::digest::Digest;
use crate::peer::{nginx, service, shadowsocks};
use crate::snet::{Config, Snet};
use crate::transfer::digest_of;
use crate::variant::Variant;
use crate::wait;
use crate::world::{FAMILIES, FOREIGN_SITE, Family, sealed};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, UdpSocket};
use std::time::Duration;

#[test]
fn every_method_of_2022() {
    sealed(|| {
        service::start();
        for method in shadowsocks::METHODS_2022 {
            for family in FAMILIES {
                println!("{method} {family:?}");
                let (_server, proxy) = shadowsocks::rust(family, method);
                everything(family, proxy);
            }
        }
    });
}

#[test]
fn users_of_a_server_of_2022() {
    sealed(|| {
        service::start();
        for method in &shadowsocks::METHODS_2022[..2] {
            let (_server, proxy) = shadowsocks::of_users(Family::V4, method);
            everything(Family::V4, proxy);
        }
    });
}

/// What a program sees of a connection, and of datagrams.
pub fn everything(family: Family, proxy: String) {
    // (ssserver sends no reply that would have to be fragmented, over IPv6 to us either.)
    through(family, proxy, &[1, 1200, 1350]);
}

/// The same with datagrams of these lengths: none, if the proxy carries none.
pub fn through(family: Family, proxy: String, lengths: &[usize]) {
    let mut config = Config::through(family, &[proxy]);
    Config::set(&mut config.firewall, "udp", "\"proxy\"");
    let snet = Snet::start(Variant::Native, &config);
    let at = |port| FOREIGN_SITE.port(family, port);

    let mut echoed = connect(at(service::ECHO));
    for text in [&b"hello"[..], &[b'x'; 100_000]] {
        echo(&mut echoed, text).expect("an echo");
    }
    let mut greeted = connect(at(service::GREET));
    let mut greeting = [0; service::GREETING.len()];
    greeted.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(greeting, service::GREETING, "the server speaks first");

    let bytes = vec![0x5a; 3 << 20];
    let mut hashed = connect(at(service::HASH));
    hashed.write_all(&bytes).expect("a reader");
    hashed.shutdown(Shutdown::Write).expect("half a connection");
    let mut digest = Vec::new();
    hashed.read_to_end(&mut digest).expect("an end");
    assert_eq!(digest, Digest::of(&bytes).as_bytes(), "the client ended its half first");

    let mut left = connect(at(service::LEAVE));
    let mut farewell = Vec::new();
    left.read_to_end(&mut farewell).expect("an end");
    assert!(farewell == service::farewell(), "the server ended its half first");

    let mut reset = connect(at(service::RESET));
    reset.write_all(b"hello").expect("a reader");
    // (ssserver makes an orderly end of it.)
    let end = reset.read(&mut [0; 8]).or_else(|error| match error.kind() {
        ErrorKind::ConnectionReset => Ok(0),
        _ => Err(error),
    });
    assert_eq!(end.expect("an end"), 0);

    for site in FAMILIES {
        let talker = Talker::to(FOREIGN_SITE.port(site, service::ECHO));
        for length in lengths {
            let text = vec![b'x'; *length];
            assert!(talker.is_answered(&text), "{site:?}, {length} bytes: {}", snet.log());
        }
    }
    snet.stop();
}

/// A program's socket.
struct Talker {
    socket: UdpSocket,
    site: SocketAddr,
}

impl Talker {
    fn to(site: SocketAddr) -> Self {
        let any: IpAddr = if site.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let socket = UdpSocket::bind((any, 0)).expect("any port");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
        Talker { socket, site }
    }

    /// Whether what it sends comes back, from where it was sent.
    fn is_answered(&self, text: &[u8]) -> bool {
        let mut buffer = [0; 65_536];
        if self.socket.send_to(text, self.site).is_err() {
            return false;
        }
        let answer = self.socket.recv_from(&mut buffer);
        answer.is_ok_and(|(length, from)| from == self.site && &buffer[..length] == text)
    }
}

/// A server seals up to 64 KiB in a chunk, four times what a small piece of memory holds.
#[test]
fn much_through_2022() {
    sealed(|| {
        let file = nginx::file(128 << 20);
        let digest = Digest::of_file(&file);
        let _sites = nginx::sites(Some(&file));
        for method in [shadowsocks::METHODS_2022[1], shadowsocks::METHODS_2022[2]] {
            let (_server, proxy) = shadowsocks::rust(Family::V4, method);
            let snet = Snet::start(Variant::Native, &Config::through(Family::V4, &[proxy]));
            let url = format!("http://{}/file", FOREIGN_SITE.port(Family::V4, 80));
            let downloads: Vec<_> = (0..4)
                .map(|_| {
                    let url = url.clone();
                    std::thread::spawn(move || digest_of(&url))
                })
                .collect();
            for download in downloads {
                assert_eq!(download.join().expect("a download"), digest, "{method}");
            }
            snet.stop();
        }
    });
}

/// The client's sessions go on with a server that knows nothing of them, at once and again.
#[test]
fn a_server_of_2022_restarts() {
    sealed(|| {
        service::start();
        let method = shadowsocks::METHODS_2022[0];
        let (server, proxy) = shadowsocks::rust(Family::V4, method);
        let mut config = Config::through(Family::V4, &[proxy]);
        Config::set(&mut config.firewall, "udp", "\"proxy\"");
        let snet = Snet::start(Variant::Native, &config);
        let talker = Talker::to(FOREIGN_SITE.port(Family::V4, service::ECHO));
        assert!(talker.is_answered(b"before"), "{}", snet.log());
        let mut server = Some(server);
        for round in 0..3 {
            drop(server.take());
            let (again, _) = shadowsocks::rust(Family::V4, method);
            server = Some(again);
            wait::until("the server is heard again", Duration::from_secs(20), || {
                talker.is_answered(format!("round {round}").as_bytes())
            });
            let mut stream = connect(FOREIGN_SITE.port(Family::V4, service::ECHO));
            echo(&mut stream, b"hello").expect("an echo");
        }
        snet.stop();
    });
}

/// It never says what is wrong, so snet does.
#[test]
fn a_wrong_key_of_2022_is_suspected() {
    sealed(|| {
        service::start();
        let method = shadowsocks::METHODS_2022[1];
        let (_server, _) = shadowsocks::rust(Family::V4, method);
        let wrong = shadowsocks::rust_with_wrong_password(Family::V4, method);
        let snet = Snet::start(Variant::Native, &Config::through(Family::V4, &[wrong]));
        let suspicion = "the clocks of this machine and of the server differ";
        let mut ports = [service::ECHO, service::HASH].into_iter().cycle();
        wait::until("the suspicion", Duration::from_secs(20), || {
            let port = ports.next().unwrap_or(service::ECHO);
            // ssserver resets at once what it cannot open, perhaps before a program speaks.
            if let Ok(mut stream) = try_connect(FOREIGN_SITE.port(Family::V4, port)) {
                let _ = stream.write_all(b"hello");
                std::thread::sleep(Duration::from_millis(200));
            }
            snet.lines("WARN").iter().any(|line| line.contains(suspicion))
        });
        snet.stop();
    });
}
