//! HTTP proxies: squid, which wants a user name and a password, and tinyproxy, which does not.

use crate::process::{FOLDER, Place, Running, command, finish, unprivileged};
use crate::snet;
use crate::tools;
use crate::world::{Family, PROXY};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const USER: &str = "me";
pub const PASSWORD: &str = "open sesame";
pub const SQUID_PORT: u16 = 3128;
pub const TINYPROXY_PORT: u16 = 8888;

/// squid with Basic authentication, and the `[[proxy]]` that leads to it.
pub fn squid(family: Family) -> (Running, String) {
    let address = PROXY.port(family, SQUID_PORT);
    let server = squid_at(address, &format!("http_port {address}"));
    (server, snet::http_proxy(address, Some((USER, PASSWORD))))
}

/// The same with another line that makes it listen there.
pub fn squid_at(address: SocketAddr, line: &str) -> Running {
    let folder = Path::new(FOLDER);
    let users = folder.join("squid.users");
    let mut htpasswd = command(Place::Machine, "htpasswd");
    let made = finish(htpasswd.args(["-bc"]).arg(&users).args([USER, PASSWORD]));
    assert!(made.status.success(), "{made:?}");

    let file = folder.join("squid.conf");
    let helper = basic_ncsa_auth();
    let text = format!(
        "{line}\n\
         visible_hostname proxy.example\n\
         auth_param basic program {helper} {users}\n\
         auth_param basic children 2 startup=1\n\
         acl known proxy_auth REQUIRED\n\
         http_access allow known\n\
         http_access deny all\n\
         cache deny all\n\
         cache_mem 8 MB\n\
         max_filedescriptors 8192\n\
         pinger_enable off\n\
         pid_filename {folder}/squid.pid\n\
         cache_log {folder}/squid.log\n\
         access_log none\n\
         coredump_dir {folder}\n\
         shutdown_lifetime 0 seconds\n",
        helper = helper.display(),
        users = users.display(),
        folder = folder.display(),
    );
    fs::write(&file, text).expect("the tmpfs is writable");
    let mut squid = unprivileged(Place::Internet, "squid");
    squid.args(["-N", "-f"]).arg(file);
    let mut server = Running::start("squid", &mut squid);
    super::wait_for_listener(&mut server, address);
    server
}

/// squid with the rules of its package: CONNECT to port 443 only. They let the LAN in.
pub fn squid_as_shipped(family: Family) -> (Running, String) {
    let address = PROXY.port(family, SQUID_PORT);
    let folder = Path::new(FOLDER);
    let shipped = fs::read_to_string("/etc/squid/squid.conf").expect("squid is installed");
    let is_ours = |line: &&str| !line.starts_with("include ") && !line.starts_with("http_port ");
    let mut lines: Vec<String> = shipped.lines().filter(is_ours).map(str::to_owned).collect();
    let last = lines.iter().position(|line| line == "http_access deny all").expect("its rules");
    assert!(lines[..last].iter().any(|line| line == "http_access deny CONNECT !SSL_ports"));
    lines.insert(last, "http_access allow all".into());
    lines.push(format!(
        "http_port {address}\nvisible_hostname proxy.example\npinger_enable off\n\
         pid_filename {folder}/squid.pid\ncache_log {folder}/squid.log\naccess_log none\n\
         max_filedescriptors 8192\ncache deny all\nshutdown_lifetime 0 seconds\n",
        folder = folder.display(),
    ));
    let file = folder.join("squid-as-shipped.conf");
    fs::write(&file, lines.join("\n")).expect("the tmpfs is writable");
    let mut squid = unprivileged(Place::Internet, "squid");
    squid.args(["-N", "-f"]).arg(file);
    let mut server = Running::start("squid", &mut squid);
    super::wait_for_listener(&mut server, address);
    (server, snet::http_proxy(address, None))
}

/// squid's own helper, where Debian and others put it.
fn basic_ncsa_auth() -> PathBuf {
    ["/usr/lib/squid", "/usr/lib64/squid", "/usr/libexec/squid"]
        .into_iter()
        .map(|folder| Path::new(folder).join("basic_ncsa_auth"))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| tools::path("basic_ncsa_auth"))
}

/// tinyproxy, and the `[[proxy]]` that leads to it.
pub fn tinyproxy(family: Family) -> (Running, String) {
    tinyproxy_with(family, "")
}

/// The same with more lines in its file.
pub fn tinyproxy_with(family: Family, more: &str) -> (Running, String) {
    let address = PROXY.port(family, TINYPROXY_PORT);
    let file = Path::new(FOLDER).join("tinyproxy.conf");
    let text = format!(
        "Port {}\nListen {}\nTimeout 600\nMaxClients 3000\nLogLevel Warning\n{more}\n",
        address.port(),
        address.ip()
    );
    fs::write(&file, text).expect("the tmpfs is writable");
    let mut command = unprivileged(Place::Internet, "tinyproxy");
    command.args(["-d", "-c"]).arg(file);
    let mut server = Running::start("tinyproxy", &mut command);
    super::wait_for_listener(&mut server, address);
    (server, snet::http_proxy(address, None))
}

/// tinyproxy on the machine itself, which asks `upstream` for everything, if there is one.
pub fn local_tinyproxy(address: SocketAddr, upstream: Option<SocketAddr>) -> Running {
    let file = Path::new(FOLDER).join("local-tinyproxy.conf");
    let (port, ip) = (address.port(), address.ip());
    let upstream = upstream.map_or(String::new(), |server| format!("Upstream http {server}\n"));
    let text = format!(
        "Port {port}\nListen {ip}\nTimeout 600\nMaxClients 3000\nLogLevel Warning\n{upstream}"
    );
    fs::write(&file, text).expect("the tmpfs is writable");
    let mut command = unprivileged(Place::Machine, "tinyproxy");
    command.args(["-d", "-c"]).arg(file);
    let mut proxy = Running::start("local-tinyproxy", &mut command);
    let listens = crate::wait::quietly(Duration::from_secs(15), || {
        proxy.ended().is_some() || TcpStream::connect(address).is_ok()
    });
    assert!(listens && proxy.ended().is_none(), "{}", proxy.log());
    proxy
}
