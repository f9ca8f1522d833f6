//! Load for the UDP rows of `scripts/bench.sh`: datagrams at a rate one way or the other, questions
//! and answers, sessions that rest.
//!
//! ```text
//! udp-load site  ADDRESS:PORT
//! udp-load proxy ADDRESS:PORT METHOD PASSWORD
//! udp-load up|down SITE FROM BYTES RATE SECONDS
//! udp-load echo    SITE FROM BYTES FLOWS SECONDS
//! udp-load hold    SITE FROM SESSIONS SOURCES
//! ```
//!
//! `site` and `proxy` serve until they are killed; a proxy is a shadowsocks server that is every
//! site itself. SITE is the server, FROM the address and first port of the client. A client ends
//! with one line of names and numbers: what was sent, and what has arrived.

#![expect(clippy::disallowed_methods, reason = "the load is no part of snet: it has no mark")]

mod ask;
mod serve;
mod train;

use ask::Flows;
use snet::proxy::shadowsocks::cipher::master_key::MasterKey;
use snet::secret::Secret;
use std::io;
use std::process::ExitCode;
use std::str::FromStr;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("udp-load {}: {error}", arguments.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> io::Result<String> {
    match arguments.first().map(String::as_str) {
        Some("site") => return serve::site(parse(arguments, 1)?).map(|()| String::new()),
        Some("proxy") => {
            let password: String = parse(arguments, 3)?;
            let password = Secret::new(password.as_str());
            let key = MasterKey::new(parse(arguments, 2)?, &password).map_err(io::Error::other)?;
            return serve::proxy(parse(arguments, 1)?, &key).map(|()| String::new());
        }
        _ => {}
    }
    let flows = Flows { site: parse(arguments, 1)?, from: parse(arguments, 2)? };
    match arguments[0].as_str() {
        "up" => flows.up(parse(arguments, 3)?, parse(arguments, 4)?, parse(arguments, 5)?),
        "down" => flows.down(parse(arguments, 3)?, parse(arguments, 4)?, parse(arguments, 5)?),
        "echo" => flows.echo(parse(arguments, 3)?, parse(arguments, 4)?, parse(arguments, 5)?),
        "hold" => flows.hold(parse(arguments, 3)?, parse(arguments, 4)?),
        other => Err(io::Error::other(format!("{other} is no kind of load: see its source"))),
    }
}

fn parse<T: FromStr>(arguments: &[String], place: usize) -> io::Result<T> {
    let text = arguments.get(place).ok_or_else(|| io::Error::other("an argument is missing"))?;
    text.parse().map_err(|_| io::Error::other(format!("{text} is not what stands there")))
}
