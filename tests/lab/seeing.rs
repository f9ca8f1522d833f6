//! What a running snet shows of itself, and that it is true.

use crate::client::{connect, echo, failure};
use crate::peer::{connect_proxy, names, service};
use crate::snet::{Config, Snet, dig, run, snet};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family, sealed};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn said(arguments: &[&str]) -> String {
    let finished = run(Variant::Nft, arguments);
    assert!(finished.status.success(), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
    finished.stdout
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&said(arguments)).expect("JSON")
}

/// What `snet top` does.
fn asked(verb: &str) -> String {
    let mut socket = UnixStream::connect("/run/snet/control.sock").expect("the control socket");
    writeln!(socket, "{verb}").expect("snet listens");
    socket.shutdown(std::net::Shutdown::Write).expect("snet listens");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("snet answers");
    answer
}

#[test]
fn what_flows_is_shown_and_can_be_ended() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (proxy, _noted) = connect_proxy::noting(Family::V4, FOREIGN_SITE);
        let config = Config::through(Family::V4, &[proxy]);
        let snet = Snet::start(Variant::Nft, &config);
        let site = FOREIGN_SITE.port(Family::V4, service::ECHO);
        dig("+short A foreign.example");
        let mut stream = connect(site);
        echo(&mut stream, b"hello").expect("an echo");

        let status = json(&["status", "--json"]);
        let capture = status["capture"].as_array().expect("both families");
        let v4 = capture.iter().find(|it| it["what"] == "IPv4").expect("IPv4");
        assert_eq!(v4["state"], "captured, and proven");
        let traffic = &status["traffic"];
        let open = (&traffic["open"], &traffic["proxied"], &traffic["up"], &traffic["down"]);
        assert_eq!(open, (&1.into(), &1.into(), &5.into(), &5.into()), "{status}");
        let proxy = &status["proxies"][0];
        assert_eq!((&proxy["open"], &proxy["down"]), (&1.into(), &5.into()), "{status}");
        assert!(status["names"]["trusted"].as_u64() >= Some(1), "{status}");
        assert!(said(&["status"]).contains("\nconnections: 1 open of 1: 1 through a proxy"));

        let answer = asked("flows");
        let flows: Value =
            serde_json::from_str(answer.strip_prefix("ok\n").expect("done")).expect("JSON");
        let [flow] = &flows.as_array().expect("a list")[..] else { panic!("{flows}") };
        assert_eq!(flow["name"], "foreign.example");
        assert_eq!(flow["destination"], site.to_string());
        assert_eq!(flow["reason"], "foreign");
        let close = format!("close {}", flow["id"]);
        assert!(asked(&close).starts_with("ok\n"));
        let ended = stream.read(&mut [0; 9]);
        let ended = ended.map_err(|error| error.kind());
        assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset), "{}", snet.log());
        wait::until("its end", SOON, || asked("flows") == "ok\n[]\n");
        assert!(asked(&close).starts_with("refused "), "it is gone");
        snet.stop();
    });
}

#[test]
fn what_is_explained_is_what_happens() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted(), names::system()];
        let (proxy, _noted) = connect_proxy::noting(Family::V4, FOREIGN_SITE);
        let mut config = Config::through(Family::V4, &[proxy]).by(Variant::Nft);
        let file = config.write();
        let path = file.to_str().expect("a path");
        let snet = Snet::ready(snet(Variant::Nft).args(["-c", path]));
        let site = FOREIGN_SITE.port(Family::V4, service::ECHO);

        let name = json(&["explain", "foreign.example", "--json"]);
        let record = &name["name"]["records"][0];
        assert_eq!(record["answer"][0], site.ip().to_string(), "{name}");
        assert_eq!(record["verdict"], "foreign", "{name}");
        assert_eq!(record["replies"].as_array().map(Vec::len), Some(2), "{name}");
        assert_eq!(name["addresses"][0]["route"], "proxy", "{name}");
        assert_eq!(dig("+short A foreign.example").trim(), site.ip().to_string());
        assert_eq!(name["changes"], Value::Array(Vec::new()), "the file is the one that runs");
        let text = said(&["explain", &format!("https://{site}/")]);
        assert!(text.contains("since nothing says that it is domestic"), "{text}");
        echo(&mut connect(site), b"hello").expect("through the proxy");

        // The file says something else meanwhile; it is told, and comes true.
        Config::set(&mut config.rules, "block", "[\"foreign.example\"]");
        fs::write(&file, config.text()).expect("the tmpfs is writable");
        let next = json(&["explain", "foreign.example", "--json"]);
        let changes = next["changes"].to_string();
        assert!(changes.contains("foreign.example: block instead of"), "{changes}");
        let by_file = said(&["explain", "-c", path, "foreign.example"]);
        assert!(by_file.contains("rules.block has foreign.example"), "{by_file}");
        said(&["reload"]);
        let blocked = said(&["explain", "foreign.example"]);
        assert!(blocked.contains("programs get: no such name"), "{blocked}");
        assert!(dig("A foreign.example").contains("NXDOMAIN"));

        Config::set(&mut config.rules, "block", &format!("[\"{}\"]", site.ip()));
        fs::write(&file, config.text()).expect("the tmpfs is writable");
        said(&["reload"]);
        let refused = said(&["explain", &site.ip().to_string()]);
        assert!(refused.contains(": refused, since rules.block has it"), "{refused}");
        assert_eq!(failure(site), std::io::ErrorKind::ConnectionRefused);

        // A file with a mistake changes nothing, and that is said.
        Config::set(&mut config.rules, "block", "[\"no such thing\"]");
        fs::write(&file, config.text()).expect("the tmpfs is writable");
        let mistaken = said(&["explain", &site.ip().to_string()]);
        assert!(mistaken.contains("the file on disk has a mistake"), "{mistaken}");
        snet.stop();
        let nobody = run(Variant::Nft, &["explain", "foreign.example"]);
        assert_eq!(nobody.status.code(), Some(69), "{}", nobody.stderr);
    });
}
