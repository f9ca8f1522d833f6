//! A suspend. The kernel cannot be put to sleep for one process, but its clock can lie to it: the
//! one that counts a suspend runs ahead, as it has when a machine wakes (clock_gettime(2)).

use crate::peer::{names, service};
use crate::process::{FOLDER, Place, command, finish, sh};
use crate::proxy_moves::everything_is_prompt;
use crate::snet::{self, Config, Snet, dig};
use crate::upstream::Upstream;
use crate::variant::Variant;
use crate::wait;
use crate::world::{Family, sealed};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Adds the seconds in the file `SLEPT` to CLOCK_BOOTTIME.
const CLOCK: &str = "#define _GNU_SOURCE\n\
    #include <fcntl.h>\n#include <stdlib.h>\n#include <sys/syscall.h>\n#include <time.h>\n\
    #include <unistd.h>\n\
    int clock_gettime(clockid_t clock, struct timespec *now) {\n\
    int result = syscall(SYS_clock_gettime, clock, now);\n\
    if (result == 0 && clock == CLOCK_BOOTTIME) {\n\
    char text[16] = {0};\n\
    int file = open(getenv(\"SLEPT\"), O_RDONLY | O_CLOEXEC);\n\
    if (file >= 0) { if (read(file, text, 15) > 0) now->tv_sec += atoi(text); close(file); }\n\
    }\n\
    return result; }\n";

#[test]
fn after_a_suspend_names_are_answered_at_once() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (_server, proxy) = Upstream::Libev("aes-256-gcm").start(Family::V4);
        let slept = Path::new(FOLDER).join("slept");
        fs::write(&slept, "0").expect("the tmpfs is writable");
        let config = Config::through(Family::V4, &[proxy]).by(Variant::Native).write();
        let mut command = snet::snet(Variant::Native);
        command.env("LD_PRELOAD", clock()).env("SLEPT", &slept);
        let snet = Snet::ready(command.arg("-c").arg(config));
        assert!(dig("+short foreign.example").contains("203.0.113.10"));
        assert!(!snet.log().contains("resumed from a suspend"), "{}", snet.log());

        // Whoever translates addresses on the way has forgotten the kept connection meanwhile.
        forget_the_kept_connections();
        fs::write(&slept, "3600").expect("the tmpfs is writable");
        wait::until("it is noticed", Duration::from_secs(10), || {
            snet.log().contains("resumed from a suspend")
        });
        everything_is_prompt(&snet);
        snet.stop();
    });
}

fn clock() -> PathBuf {
    let (source, library) = (Path::new(FOLDER).join("clock.c"), Path::new(FOLDER).join("clock.so"));
    fs::write(&source, CLOCK).expect("the tmpfs is writable");
    let mut compile = command(Place::Machine, "cc");
    let compiled = finish(compile.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source));
    assert!(compiled.status.success(), "{}", compiled.stderr);
    library
}

/// What comes from them is dropped on its way to the proxy's server.
fn forget_the_kept_connections() {
    sh(Place::Internet, "nft add table inet asleep");
    let hook = "nft add chain inet asleep input { type filter hook input priority 0 ; }";
    sh(Place::Internet, hook);
    let open = sh(Place::Internet, "ss -Htn state established sport = :8388");
    let ports = open.lines().filter_map(|line| line.split_whitespace().last()?.rsplit(':').next());
    let mut count = 0;
    for port in ports {
        sh(Place::Internet, &format!("nft add rule inet asleep input tcp sport {port} drop"));
        count += 1;
    }
    assert!(count > 0, "{open}");
}
