//! A kernel without IPv6 (`ipv6.disable=1`): no socket of that family can be made. Played for the
//! daemon and its tools by socket(2) itself.

use crate::client::{echo, try_connect};
use crate::counters::Counters;
use crate::peer::{names, service};
use crate::process::{FOLDER, Place, command, finish};
use crate::snet::{self, Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::world::{FOREIGN_SITE, Family, sealed_for};
use snet_lab::in_every_variant;
use std::fs;
use std::path::{Path, PathBuf};

const SOCKET: &str = "#define _GNU_SOURCE\n\
    #include <errno.h>\n#include <sys/socket.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
    int socket(int family, int type, int protocol) {\n\
    if (family == AF_INET6) { errno = EAFNOSUPPORT; return -1; }\n\
    return syscall(SYS_socket, family, type, protocol); }\n";

in_every_variant!(both_modes_start_on_ipv4);

fn both_modes_start_on_ipv4(variant: Variant) {
    service::start();
    let _names = [names::domestic(), names::trusted(), names::system()];
    let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
    let library = library();
    for mode in ["local", "router"] {
        let mut config = Config::through(Family::V4, std::slice::from_ref(&proxy));
        Config::set(&mut config.top, "mode", &format!("\"{mode}\""));
        let mut command = snet::snet(variant);
        command.env("LD_PRELOAD", &library);
        let snet = Snet::ready(command.arg("-c").arg(config.by(variant).write()));
        let counters = Counters::restart();
        let mut stream = try_connect(FOREIGN_SITE.port(Family::V4, service::ECHO)).expect(mode);
        echo(&mut stream, b"hello").expect(mode);
        assert!(dig("+short foreign.example").contains("203.0.113.10"), "{mode}: {}", snet.log());
        assert_eq!(counters.captured(), 1, "{mode}");
        assert_eq!(counters.leaked(), 0, "{mode}");
        assert!(snet.lines("ERROR").is_empty(), "{mode}: {}", snet.log());
        snet.stop();
    }
}

fn library() -> PathBuf {
    let (source, library) =
        (Path::new(FOLDER).join("socket.c"), Path::new(FOLDER).join("socket.so"));
    fs::write(&source, SOCKET).expect("the tmpfs is writable");
    let mut compile = command(Place::Machine, "cc");
    let compiled = finish(compile.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source));
    assert!(compiled.status.success(), "{}", compiled.stderr);
    library
}
