//! The STUN server of coturn, with the two addresses and two ports that RFC 5780 wants.

use crate::process::{FOLDER, Place, Running, unprivileged};
use crate::world::{FOREIGN_SITE, FOREIGN_TWIN};

/// On each of its addresses it listens on these.
pub const PORT: u16 = 3478;
pub const OTHER_PORT: u16 = 3479;

/// On the foreign site and its twin, in both families.
pub fn start() -> Running {
    let mut command = unprivileged(Place::Internet, "turnserver");
    command.args(["-n", "--stun-only", "--no-tcp", "--no-tls", "--no-dtls", "--no-cli"]);
    command.args(["--log-file", "stdout", "--db", &format!("{FOLDER}/turndb")]);
    command.args(["--pidfile", &format!("{FOLDER}/turnserver.pid")]);
    command.args(["--listening-port", &PORT.to_string(), "--alt-listening-port"]);
    command.arg(OTHER_PORT.to_string());
    let addresses = FOREIGN_SITE.both(OTHER_PORT).into_iter().chain(FOREIGN_TWIN.both(OTHER_PORT));
    let addresses: Vec<_> = addresses.collect();
    for address in &addresses {
        command.args(["-L", &address.ip().to_string()]);
    }
    let mut server = Running::start("turnserver", &mut command);
    for address in addresses {
        super::wait_for_listener(&mut server, address);
    }
    server
}
