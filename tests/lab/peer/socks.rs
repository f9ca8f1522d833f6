//! SOCKS5 servers: dante, which carries UDP, and microsocks, which does not and wants a password.

use crate::process::{FOLDER, Place, Running, command};
use crate::snet;
use crate::world::{FAMILIES, Family, PROXY};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

pub const USER: &str = "me";
pub const PASSWORD: &str = "open sesame";
pub const DANTE_PORT: u16 = 1080;
pub const MICROSOCKS_PORT: u16 = 1081;

/// dante, open to all, and the `[[proxy]]` that leads to it.
pub fn dante(family: Family) -> (Running, String) {
    let address = PROXY.port(family, DANTE_PORT);
    let file = Path::new(FOLDER).join("danted.conf");
    let any = match family {
        Family::V4 => "0.0.0.0/0",
        Family::V6 => "::/0",
    };
    let (ip, port) = (address.ip(), address.port());
    let [v4, v6] = FAMILIES.map(|family| PROXY.ip(family));
    let text = format!(
        "logoutput: stderr\n\
         internal: {ip} port = {port}\n\
         external: {v4}\n\
         external: {v6}\n\
         clientmethod: none\n\
         socksmethod: none\n\
         user.privileged: root\n\
         user.unprivileged: root\n\
         client pass {{ from: {any} to: {any} }}\n\
         socks pass {{ from: 0/0 to: 0/0 protocol: tcp udp\n\
         command: bind connect udpassociate bindreply udpreply }}\n"
    );
    fs::write(&file, text).expect("the tmpfs is writable");
    let mut dante = command(Place::Internet, "danted");
    dante.args(["-f"]).arg(file).args(["-p"]).arg(Path::new(FOLDER).join("danted.pid"));
    let mut server = Running::start("danted", &mut dante);
    super::wait_for_listener(&mut server, address);
    (server, snet::socks_proxy(address, None))
}

/// Kills dante with its children, which would serve on without it.
pub fn kill(dante: Running) {
    let pid = dante.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("it runs");
    drop(dante);
    for child in children.split_whitespace().filter_map(|number| number.parse().ok()) {
        // One that has noticed the end of its parent is gone already.
        let _ = signal::kill(Pid::from_raw(child), Signal::SIGKILL);
    }
}

/// microsocks, and the `[[proxy]]` that leads to it.
pub fn microsocks(family: Family) -> (Running, String) {
    let address = PROXY.port(family, MICROSOCKS_PORT);
    let server = microsocks_at(address);
    (server, snet::socks_proxy(address, Some((USER, PASSWORD))))
}

fn microsocks_at(address: SocketAddr) -> Running {
    let mut microsocks = command(Place::Internet, "microsocks");
    microsocks
        .args(["-i", &address.ip().to_string(), "-p", &address.port().to_string()])
        .args(["-u", USER, "-P", PASSWORD]);
    let mut server = Running::start("microsocks", &mut microsocks);
    super::wait_for_listener(&mut server, address);
    server
}
