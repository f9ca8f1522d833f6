//! What a running snet shows of itself, and that it is true.

use crate::client::{connect, echo, failure};
use crate::peer::{connect_proxy, names, service};
use crate::router::LAN;
use crate::snet::{Config, Snet, dig, http_proxy, run, snet};
use crate::variant::Variant;
use crate::wait;
use crate::world::{FOREIGN_SITE, Family, MACHINE, PROXY, sealed};
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

/// A household whose proxy does not answer yet, on a router.
#[test]
fn why_something_does_not_work() {
    sealed(|| {
        service::start();
        let _names = [names::domestic(), names::trusted(), names::system()];
        LAN.move_in(Variant::Nft);
        // Nobody listens there.
        let proxy = http_proxy(PROXY.port(Family::V4, 3128), None);
        let mut config = Config::through(Family::V4, &[proxy]).by(Variant::Nft);
        Config::set(&mut config.top, "mode", "\"router\"");
        Config::set(&mut config.rules, "direct-sources", "[\"192.168.7.99\"]");
        let file = config.write();
        let path = file.to_str().expect("a path");
        let snet = Snet::ready(snet(Variant::Nft).args(["-c", path]));
        let site = FOREIGN_SITE.port(Family::V4, service::ECHO);

        // Why was that connection refused?
        let got = LAN.curl(&[&format!("http://{site}/")]);
        assert!(!got.status.success(), "{}", got.stdout);
        assert!(LAN.dig("A foreign.example @192.168.7.1").contains("SERVFAIL"), "{}", snet.log());
        let status = json(&["status", "--json"]);
        let refusals = status["refusals"].as_array().expect("a list");
        let of = |network: &str| refusals.iter().find(|it| it["network"] == network);
        let refused = of("tcp").unwrap_or_else(|| panic!("{status}"));
        assert_eq!(refused["destination"], site.to_string());
        assert!(refused["client"].as_str().unwrap_or_default().starts_with("192.168.7.10:"));
        let cause = refused["cause"].as_str().unwrap_or_default();
        assert!(cause.contains("no proxy could connect") || cause == "all proxies are down");
        let failed = of("name").unwrap_or_else(|| panic!("{status}"));
        assert_eq!(failed["name"], "foreign.example");
        assert!(failed["cause"].as_str().unwrap_or_default().contains("EDE 22"), "{failed}");
        assert!(said(&["status"]).contains("\nrefused lately: "));
        let of_site = said(&["explain", &site.to_string()]);
        let line = format!(" to {site}: {cause}\n");
        assert!(of_site.contains("\nrefused lately: ") && of_site.contains(&line), "{of_site}");
        let of_name = said(&["explain", "foreign.example"]);
        assert!(of_name.contains(" asked for foreign.example A: SERVFAIL"), "{of_name}");

        // Why does this device not work?
        let device = said(&["explain", "192.168.7.10"]);
        assert!(!of_site.contains("after a reload"), "{of_site}");
        let place = "as a device: a host on a link of this machine, at br-lan\n";
        assert!(device.contains(place) && device.contains(&line), "{device}");
        assert!(device.contains("connections and questions for names come to snet"), "{device}");
        let own = MACHINE.ip(Family::V4).to_string();
        let this = said(&["explain", &own]);
        assert!(this.contains("as a device: this machine, at uplink\n"), "{this}");
        let exempt = json(&["explain", "192.168.7.99", "--json"]);
        assert_eq!(exempt["device"]["is_captured"], false, "{exempt}");
        assert!(exempt["device"]["capture"].to_string().contains("rules.direct-sources"));
        assert!(json(&["explain", "203.0.113.77", "--json"])["device"].is_null());

        // What did the last reload change?
        fs::write(&file, "mode = 5\n").expect("the tmpfs is writable");
        assert_eq!(run(Variant::Nft, &["reload"]).status.code(), Some(78));
        let refused = json(&["status", "--json"])["reloads"][0].clone();
        assert!(refused["refused"].to_string().contains("mode: found"), "{refused}");
        let (proxy, _noted) = connect_proxy::noting(Family::V4, FOREIGN_SITE);
        config.proxies = vec![format!("name = \"second\"\n{proxy}")];
        Config::set(&mut config.rules, "sniff", "false");
        fs::write(&file, config.text()).expect("the tmpfs is writable");
        let reloaded = said(&["reload"]);
        for change in ["rules.sniff = false (had its default)", "proxy added: second"] {
            assert!(reloaded.contains(change), "{reloaded}");
        }
        let text = said(&["status"]);
        let line = "ago by a command: rules.sniff = false (had its default); proxy added: second; \
                    proxy gone: ";
        assert!(text.contains(line), "{text}");

        // Why is this site slow?
        let found = || dig("+short A foreign.example").trim() == site.ip().to_string();
        wait::until("a name by the proxy", SOON, found);
        let mut stream = connect(site);
        echo(&mut stream, b"hello").expect("an echo");
        let slow = said(&["explain", "foreign.example"]);
        assert!(slow.contains("\nproxy second: "), "{slow}");
        let line = format!(" to foreign.example ({}): through second for ", site.ip());
        assert!(slow.contains("\nopen to it: 1\n") && slow.contains(&line), "{slow}");

        // Is the DNS clean, and how old are the lists?
        let status = json(&["status", "--json"]);
        assert!(status["trust"]["weighed"].as_u64() > Some(0), "{status}");
        let china = status["sources"][0]["says"].as_str().unwrap_or_default();
        assert!(china.contains("(rules.china-ip-file): "), "{status}");
        assert!(status["sources"][0]["age"].is_u64() && status["sources"][0]["read"].is_u64());
        snet.stop();
    });
}
