//! Every key, one after the other: it is read, it stands in the example with its default, and the
//! summary shows it when it is not the default.

use super::files::{self, AUTHORITY, EXAMPLE, Folder};
use super::{PROXY, problems, read};
use crate::config::read::keys;
use std::collections::BTreeSet;

/// Sections and keys; the names of sections are keys of the section "".
fn all() -> Vec<(&'static str, &'static str)> {
    let all: Vec<_> = keys().all().collect();
    assert!(all.len() > 50, "only {all:?}");
    all
}

/// A date, which no key accepts, is refused as a value and not as an unknown key.
#[test]
fn every_key_is_read() {
    for (section, key) in all() {
        let header = match section {
            "" => String::new(),
            "proxy" => PROXY.to_owned(),
            "subscription" => SUBSCRIPTION.to_owned(),
            "group" => GROUP.to_owned(),
            name => format!("[{name}]\n"),
        };
        // Where PROXY gives the key already, the last line is one key twice.
        let header = without(&header, if key == "file" { "url" } else { key });
        let said = problems(&format!("{header}{key} = 2001-02-03\n"));
        let found = said.iter().any(|line| {
            line.contains(&format!("{key}: found "))
                && (line.contains("a date or time") || line.contains("not in quotes"))
        });
        assert!(found, "{section}.{key}: {said:?}");
    }
}

#[test]
fn the_example_has_every_key_with_its_default() {
    let mut shipped = read(EXAMPLE).unwrap().config;
    let proxies = std::mem::take(&mut shipped.proxies);
    assert_eq!((proxies.len(), proxies[0].name.as_str()), (1, "tokyo"));
    let mut bare = super::config("");
    assert_eq!(proxies[0].connect_timeout, bare.proxies[0].connect_timeout);
    assert_eq!(proxies[0].dial_options, bare.proxies[0].dial_options);
    assert_eq!(proxies[0].warm, bare.proxies[0].warm);
    bare.proxies.clear();
    assert_eq!(format!("{shipped:#?}"), format!("{bare:#?}"));

    let mut found = BTreeSet::new();
    let mut section = "";
    // A key or header in a comment counts too: not everything can stand in one file.
    for line in EXAMPLE.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)) {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = header.trim_matches(['[', ']']);
            found.insert(("", section));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' '))
        {
            found.insert((section, key));
        }
    }
    assert_eq!(found, all().into_iter().collect());
}

/// No summary shows it, only that there is one.
const PASSWORD: &str = "hunter2";

/// Enough of a `[[subscription]]` to please.
const SUBSCRIPTION: &str =
    "[[subscription]]\nname = \"provider\"\nurl = \"https://a.example/hunter2\"\n";

/// Enough of a `[[group]]` to please.
const GROUP: &str = "[[group]]\nname = \"all\"\n";

/// A certificate and its key, which are right only together.
const HOUSEHOLD: &str =
    "[household]\ncertificate-file = \"FOLDER/chain\"\nkey-file = \"FOLDER/key\"\n";

/// Files with a `[[proxy]]` that a key is added to, or changed in.
const PROXIES: [&str; 6] = [
    PROXY,
    "[[proxy]]\ntype = \"http\"\nserver = \"p.example:80\"\nusername = \"me\"\n\
     password = \"hunter2\"\n",
    "[[proxy]]\ntype = \"shadowsocks\"\nserver = \"p.example:80\"\nmethod = \"aes-128-gcm\"\n\
     password = \"hunter2\"\n",
    "[[proxy]]\ntype = \"shadowsocks\"\nserver = \"p.example:80\"\nmethod = \"aes-128-gcm\"\n\
     password = \"hunter2\"\nplugin = \"obfs-local\"\n",
    "[[proxy]]\ntype = \"https\"\nserver = \"p.example:443\"\n",
    "[[proxy]]\nlink = \"ss://YWVzLTEyOC1nY206aHVudGVyMg@p.example:80\"\n",
];

/// One value at least is right for each key, and not its default. FOLDER holds the files that
/// follow it. Some keys are right only together with others.
const VALUES: [&str; 46] = [
    "\"off\"",
    "false",
    "true",
    "7",
    "\"7\"",
    "\"7s\"",
    "\"7h\"",
    "\"https://b.example/sub\"",
    "\"FOLDER/links\"",
    "\"8KiB\"",
    "\"192.0.2.0/24\"",
    "[\"192.0.2.7\"]",
    "[\"7\"]",
    "[\"a.example\"]",
    "[\"AAAA\"]",
    "{ \"a.example\" = [\"192.0.2.7\"] }",
    "\"b.example:81\"",
    "\"FOLDER/new\"",
    "\"FOLDER/prefixes\"",
    "\"FOLDER/names\"",
    "\"me\"\npassword = \"hunter2\"",
    "\"shadowsocks\"\nmethod = \"aes-128-gcm\"\npassword = \"hunter2\"",
    "\"aes-256-gcm\"",
    "\"ss://YWVzLTEyOC1nY206aHVudGVyMg@b.example:81\"",
    "\"FOLDER/authority\"",
    "\"FOLDER/certificate\"",
    "\"FOLDER/same-key\"",
    "\"trAf489PZNvxf9WrZH2e3EtBFXIV3gsEvCrpTk3mI2w=\"",
    "\"router\"",
    "\"global\"",
    "\"127.0.0.7\"",
    "\"direct\"",
    "\"block\"",
    "\"closed\"",
    "\"auto\"",
    "\"nftables\"",
    "\"debug\"",
    "\"strip-hints\"",
    "[\"br-lan\"]",
    "[\"a.slice\"]",
    "\"spread\"",
    "\"keep\"",
    "{ \"p.example:80\" = [\"192.0.2.7\"] }",
    "\"127.0.0.1:9090\"\nsecret-file = \"FOLDER/secret\"",
    "\"FOLDER/secret\"",
    "\"FOLDER/ui\"",
];

#[test]
fn the_summary_shows_every_key_but_the_password() {
    let folder = Folder::new("summary");
    folder.write("prefixes", 0o600, "192.0.2.0/24\n");
    folder.write("names", 0o600, "a.example\n");
    folder.write("secret", 0o600, "hunter2 and more\n");
    std::fs::create_dir(folder.0.join("ui")).unwrap();
    folder.write("ui/index.html", 0o644, "<html>");
    folder.write("authority", 0o600, AUTHORITY);
    folder.write("links", 0o600, "http://me:hunter2@7.example:81\n");
    for (name, text) in [
        ("chain", files::certificate()),
        ("certificate", files::certificate()),
        ("key", files::key()),
        ("same-key", files::key()),
    ] {
        folder.write(name, 0o600, &text);
    }
    let here = |text: &str| text.replace("FOLDER", &folder.0.display().to_string());
    let (values, household) = (VALUES.map(here), here(HOUSEHOLD));
    let summary = |text: &str| read(text).ok().map(|loaded| loaded.summary());
    for (section, key) in all() {
        if section.is_empty() && !keys().of(key).is_empty() {
            continue;
        }
        let texts = |value: &str| match section {
            "" => vec![(PROXY.to_owned(), format!("{key} = {value}\n{PROXY}"))],
            "proxy" => {
                // The file stands in the place of the password.
                let place = key.trim_end_matches("-file");
                let text = |proxy| format!("{}{key} = {value}\n", without(proxy, place));
                PROXIES.map(|proxy| (proxy.to_owned(), text(proxy))).into()
            }
            "subscription" => {
                // The file stands in the place of the URL.
                let place = if key == "file" { "url" } else { key };
                let text = format!("{}{key} = {value}\n", without(SUBSCRIPTION, place));
                vec![(SUBSCRIPTION.to_owned(), text)]
            }
            "group" => {
                let text = format!("{PROXY}{}{key} = {value}\n", without(GROUP, key));
                vec![(format!("{PROXY}{GROUP}"), text)]
            }
            "household" => {
                let before = format!("{household}{PROXY}");
                let after = format!("{}{key} = {value}\n{PROXY}", without(&household, key));
                vec![(before, after)]
            }
            _ => vec![(PROXY.to_owned(), format!("[{section}]\n{key} = {value}\n{PROXY}"))],
        };
        let read: Vec<(String, String)> = values
            .iter()
            .flat_map(|value| texts(value))
            .filter_map(|(before, after)| summary(&before).zip(summary(&after)))
            .collect();
        assert!(!read.is_empty(), "{section}.{key}: no value of VALUES is right");
        let shown = read.iter().any(|(before, after)| before != after);
        assert_eq!(shown, key != "password", "{section}.{key}: {}", read[0].1);
        assert!(!read.iter().any(|(_, after)| after.contains(PASSWORD)), "{section}.{key}");
    }
}

/// A text without the line of a key.
fn without(text: &str, key: &str) -> String {
    let other = |line: &&str| line.split(" = ").next() != Some(key);
    text.lines().filter(other).map(|line| format!("{line}\n")).collect()
}
