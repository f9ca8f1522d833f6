//! The server's side of a plugin (SIP003), before an ssserver that listens for it alone.

use super::shadowsocks;
use crate::process::{Place, Running, unprivileged};
use crate::snet;
use crate::world::{Family, PROXY};

const PORT: u16 = 8380;

/// The plugin and its ssserver, and the `[[proxy]]` that leads to them, still without its plugin.
pub fn start(family: Family, method: &str, program: &str, options: &str) -> (Vec<Running>, String) {
    let (server, _) = shadowsocks::rust(family, method);
    let (address, behind) = (PROXY.port(family, PORT), shadowsocks::rust_address(family));
    let mut command = unprivileged(Place::Internet, program);
    for (key, value) in [
        ("SS_REMOTE_HOST", address.ip().to_string()),
        ("SS_REMOTE_PORT", address.port().to_string()),
        ("SS_LOCAL_HOST", behind.ip().to_string()),
        ("SS_LOCAL_PORT", behind.port().to_string()),
        ("SS_PLUGIN_OPTIONS", options.to_owned()),
        // Tells it from the client of the same name.
        ("LAB_SERVER", "1".to_owned()),
    ] {
        command.env(key, value);
    }
    let mut plugin = Running::start(program, &mut command);
    super::wait_for_listener(&mut plugin, address);
    let [password, ..] = shadowsocks::passwords(method);
    (vec![plugin, server], snet::shadowsocks(address, method, password))
}
