//! `[[subscription]]`: what its servers become, and what is said of it.

use super::files::Folder;
use super::{PROXY, config, problems, read};
use crate::config::{Config, FetchVia};
use crate::firewall::Datagrams;
use crate::proxy::credentials::Credentials;
use crate::subscription::kept::KeptBody;
use std::time::Duration;
use zeroize::Zeroizing;

const LINKS: &str = "ss://YWVzLTI1Ni1nY206aHVudGVyMg@one.example:8388#Tokyo
vmess://hunter2
ss://YWVzLTI1Ni1nY206aHVudGVyMg@two.example:8388#Tokyo
ss://YWVzLTI1Ni1nY206aHVudGVyMg@three.example:8388?plugin=/bin/sh#Plugin
ss://bm8tc3VjaDphYmM@four.example:8388#Method
http://five.example:8080
http://127.0.0.2:1111#Own
";

fn names(config: &Config) -> Vec<&str> {
    config.proxies.iter().map(|proxy| proxy.name.as_str()).collect()
}

fn body(text: &str) -> KeptBody {
    KeptBody::of_file(Zeroizing::new(text.as_bytes().to_vec()))
}

/// A subscription whose body is a file of this content.
fn of_file(folder: &Folder, content: &str, more: &str) -> String {
    folder.write("links", 0o600, content);
    let path = folder.0.join("links");
    format!("[[subscription]]\nname = \"p\"\nfile = \"{}\"\n{more}", path.display())
}

#[test]
fn servers_stand_behind_the_operators_own() {
    let folder = Folder::new("subscription");
    let own = "[[proxy]]\nname = \"p/Tokyo\"\ntype = \"http\"\nserver = \"o.example:80\"\n";
    let loaded = read(&format!("{own}{}", of_file(&folder, LINKS, ""))).unwrap();
    let expected = ["p/Tokyo", "p/Tokyo #2", "p/Tokyo #3", "p/five.example:8080"];
    assert_eq!(names(&loaded.config), expected);
    assert_eq!(loaded.config.proxies[1].host, "one.example");
    assert!(loaded.config.proxies[1].udp && !loaded.config.proxies[3].udp);
    assert!(loaded.config.proxies.iter().all(|proxy| proxy.warm));
    let cold = read(&format!("{own}{}", of_file(&folder, LINKS, "warm = \"off\"\n"))).unwrap();
    let warm: Vec<bool> = cold.config.proxies.iter().map(|proxy| proxy.warm).collect();
    assert_eq!(warm, [true, false, false, false]);
    let words = loaded.config.subscriptions[0].provided.to_string();
    assert_eq!(
        words,
        "3 servers of a list of links; passed over: 1 vmess; 3 unfit: \"Plugin\" (the plugin \
         \"/bin/sh\"), \"Own\" (the server \"127.0.0.2\"), \"Method\" \
         (the method \"no-such\")"
    );
    let summary = loaded.summary();
    assert!(summary.contains("provider  \"p\": "), "{summary}");
    assert!(!format!("{summary}{:?}{:?}", loaded.config, loaded.warnings).contains("hunter2"));
}

#[test]
fn names_are_taken_and_left() {
    let folder = Folder::new("globs");
    let links: String = ["HK 1", "HK 2", "JP 1", "HK 1 x5"]
        .map(|name| format!("http://a.example:80#{}\n", name.replace(' ', "%20")))
        .concat();
    let text = of_file(&folder, &links, "include = [\"hk*\", \"*2\"]\nexclude = [\"*x5\"]\n");
    let config = read(&text).unwrap().config;
    assert_eq!(names(&config), ["p/HK 1", "p/HK 2"]);
    assert!(config.subscriptions[0].provided.to_string().contains("2 excluded"));
    let many: String = (0..300).map(|n| format!("http://a{n}.example:80\n")).collect();
    let config = read(&of_file(&folder, &many, "")).unwrap().config;
    assert_eq!(config.proxies.len(), 256);
    assert!(config.subscriptions[0].provided.to_string().contains("44 more than the 256"));
}

#[test]
fn another_body_changes_only_its_own_servers() {
    let urls = "[[subscription]]\nname = \"a\"\nurl = \"https://a.example/hunter2\"\n\
                [[subscription]]\nname = \"b\"\nurl = \"https://b.example/hunter2\"\n";
    let config = config(urls);
    assert_eq!(config.proxies.len(), 1);
    assert!(config.subscriptions.iter().all(|subscription| subscription.is_awaited()));
    let b = config.with_body("b", &body("http://b1.example:80#One\n")).unwrap();
    let both = b.with_body("a", &body("http://a1.example:80#One\n")).unwrap();
    assert_eq!(names(&both), ["p.example:80", "a/One", "b/One"]);
    // What stays is equal, so that a reload lets it be.
    assert_eq!(both.proxies[2], b.proxies[1]);
    let again = both.with_body("a", &body("http://a2.example:80#Two\n")).unwrap();
    assert_eq!(names(&again), ["p.example:80", "a/Two", "b/One"]);
    for (bad, expected) in [
        ("", "found nothing;"),
        ("<html>", "found a web page;"),
        ("vmess://hunter2", "a list of links without a server that snet can use; passed over: 1"),
        ("proxies: []", "a Clash file without a server that snet can use"),
    ] {
        let why = again.with_body("a", &body(bad)).unwrap_err();
        assert!(why.starts_with(expected), "{bad}: {why}");
    }
    assert!(again.with_body("c", &body(LINKS)).is_err());
}

#[test]
fn nothing_goes_directly_while_servers_are_awaited() {
    let text = "[[subscription]]\nname = \"a\"\nurl = \"https://a.example/\"\n";
    let waiting = read(text).unwrap().config;
    assert_eq!(waiting.proxies.len(), 0);
    assert_eq!(waiting.datagrams().udp, Datagrams::Proxy);
    let without = waiting.with_body("a", &body("http://a.example:80")).unwrap();
    assert_eq!(without.datagrams().udp, Datagrams::Direct);
    assert!(without.may_capture_datagrams());
    let with = without.with_body("a", &body("socks5://a.example")).unwrap();
    assert_eq!(with.datagrams().udp, Datagrams::Proxy);
    assert!(matches!(
        &with.proxies[0].kind,
        crate::config::ProxyKind::Socks5 { credentials: None::<Credentials> }
    ));
    assert!(!config("").may_capture_datagrams());
}

#[test]
fn the_last_body_is_started_from() {
    let folder = Folder::new("kept");
    let path = folder.0.join("kept");
    let text = format!(
        "[[subscription]]\nname = \"a\"\nurl = \"https://a.example/\"\nupdate = \"12h\"\n\
         via = \"direct\"\ncache-file = \"{}\"\n",
        path.display()
    );
    assert!(read(&text).unwrap().config.subscriptions[0].is_awaited());
    let mut kept = body(LINKS);
    kept.fetched = 1_000_000_000;
    kept.write(&path).unwrap();
    let loaded = read(&text).unwrap();
    assert_eq!(names(&loaded.config), ["a/Tokyo", "a/Tokyo #2", "a/five.example:8080"]);
    let subscription = &loaded.config.subscriptions[0];
    assert!(!subscription.is_awaited());
    assert_eq!(subscription.via, FetchVia::Direct);
    assert_eq!(subscription.update, Duration::from_secs(12 * 3600));
    let summary = loaded.summary();
    assert!(summary.contains("https://a.example/..., every 12h; 3 servers of a list"), "{summary}");
    assert!(summary.contains(" d old; "), "{summary}");
    // What is of no use keeps nothing from starting.
    body("<html>").write(&path).unwrap();
    let loaded = read(&text).unwrap();
    assert_eq!(loaded.config.proxies.len(), 0);
    assert!(loaded.warnings[0].contains("is of no use: found a web page"), "{:?}", loaded.warnings);
    std::fs::write(&path, "[[proxy]]").unwrap();
    let said = &problems(&text)[0];
    assert!(said.contains("cache-file: found ") && said.contains("snet has not written"), "{said}");
}

#[test]
fn what_is_said_of_bad_ones() {
    let folder = Folder::new("bad");
    folder.write("page", 0o600, "<html>");
    let page = folder.0.join("page").display().to_string();
    for (lines, expected) in [
        ("url = \"https://a.example/\"", "subscription[1].name: found nothing; accepted: a name"),
        ("name = \"a/b\"\nurl = \"https://a.example/\"", "subscription[1].name: found \"a/b\""),
        ("name = \"a\"", "subscription[1].url: found nothing; accepted: url or file"),
        ("name = \"a\"\nurl = \"ftp://a/hunter2\"", "found a URL of another protocol"),
        ("name = \"a\"\nurl = \"https://a/\"\nfile = \"b\"", "found a file beside the url"),
        ("name = \"a\"\nfile = \"/nowhere/at/all\"", "a file that can be read"),
        ("name = \"a\"\nurl = \"https://a/\"\nupdate = \"1m\"", "from \"10m\" to \"365d\""),
        ("name = \"a\"\nurl = \"https://a/\"\nuser-agent = \"a\\nb\"", "256 ASCII"),
        ("name = \"a\"\nurl = \"https://a/\"\ncache-file = \"b\"", "an absolute path"),
        (&format!("name = \"a\"\nfile = {page:?}"), "/page (found a web page;"),
    ] {
        let said = problems(&format!("{PROXY}[[subscription]]\n{lines}\n"));
        assert!(said.len() == 1 && said[0].contains(expected), "{lines}: {said:?}");
        assert!(!said[0].contains("hunter2"), "{said:?}");
    }
    let twice = "[[subscription]]\nname = \"a\"\nurl = \"https://a/\"\n".repeat(2);
    assert!(problems(&format!("{PROXY}{twice}"))[0].contains("no other [[subscription]] has"));
    let kept = folder.0.join("kept").display().to_string();
    let one = |name| {
        format!("[[subscription]]\nname = {name:?}\nurl = \"https://a/\"\ncache-file = {kept:?}\n")
    };
    let said = problems(&format!("{PROXY}{}{}", one("a"), one("b")));
    assert!(
        said[0].contains("[2].cache-file: found the file of the subscription \"a\""),
        "{said:?}"
    );
    let nowhere = |name| one(name).replace(&kept, "");
    assert!(problems(&format!("{PROXY}{}{}", nowhere("a"), nowhere("b"))).is_empty());
    let plain = "[[subscription]]\nname = \"a\"\nurl = \"http://a/\"\n";
    assert!(read(plain).unwrap().warnings[0].contains("without TLS everyone on the way"));
}

/// A plugin is a program that runs here.
#[test]
fn a_plugin_has_to_be_allowed() {
    let folder = Folder::new("plugins");
    let links = "ss://YWVzLTI1Ni1nY206aHVudGVyMg@a.example:1?plugin=obfs-local;obfs=http#Obfs
ss://YWVzLTI1Ni1nY206aHVudGVyMg@b.example:1?plugin=reboot#Reboot
ss://YWVzLTI1Ni1nY206aHVudGVyMg@c.example:1#Plain
";
    let config = read(&of_file(&folder, links, "")).unwrap().config;
    assert_eq!(names(&config), ["p/Plain"]);
    let words = config.subscriptions[0].provided.to_string();
    assert!(
        words.contains("\"Obfs\" (the plugin \"obfs-local\", without plugins = true)"),
        "{words}"
    );
    let config = read(&of_file(&folder, links, "plugins = true\n")).unwrap().config;
    assert_eq!(names(&config), ["p/Obfs", "p/Plain"]);
    assert!(config.proxies[0].kind.plugin().is_some());
    assert!(!config.proxies[0].udp && config.proxies[1].udp, "UDP would go past it");
    let words = config.subscriptions[0].provided.to_string();
    assert!(words.ends_with("1 unfit: \"Reboot\" (the plugin \"reboot\")"), "{words}");
}
