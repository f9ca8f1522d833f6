//! The files on disk: the one that is shipped, those that a configuration names, and who may read
//! them.

use super::PROXY;
use crate::config::{Config, Error, Loaded, ProxyKind, Purpose};
use base64::Engine;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A folder of its own for one test, removed at its end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(test: &str) -> Self {
        let name = format!("snet-config-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub(super) fn write(&self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    pub(super) fn load(&self, text: &str) -> Result<Loaded, Error> {
        Config::load(&self.write("snet.toml", 0o600, text), Purpose::Daemon)
    }

    /// The problems, without the name of the folder.
    pub(super) fn problems(&self, text: &str) -> Vec<String> {
        let folder = format!("{}/", self.0.display());
        let problems = self.load(text).unwrap_err().problems;
        problems.into_iter().map(|problem| problem.replace(&folder, "")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const SHADOWSOCKS: &str =
    "[[proxy]]\ntype = \"shadowsocks\"\nserver = \"192.0.2.1:8388\"\nmethod = \"aes-128-gcm\"\n";

/// The configuration that is shipped.
pub(super) const EXAMPLE: &str = include_str!("../../../config.example.toml");

/// It signed the certificates that tests use.
pub(super) const AUTHORITY: &str = include_str!("authority.pem");

/// A certificate as a file has it, which the resolver's tests use too.
pub(super) fn certificate() -> String {
    const DER: &[u8] = include_bytes!("../../dns/tests/certificates/dns.example.der");
    pem("CERTIFICATE", DER)
}

/// Its key.
pub(super) fn key() -> String {
    const DER: &[u8] = include_bytes!("../../dns/tests/certificates/dns.example.key.der");
    pem("PRIVATE KEY", DER)
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

/// Both proxies of the example work, once the second is no comment.
#[test]
fn the_second_proxy_of_the_example() {
    let text = EXAMPLE;
    let begin = text.find("# [[proxy]]").unwrap();
    let end = begin + text[begin..].find("\n\n").unwrap();
    let keys = |line: &&str| line.contains("[[") || line.contains(" = ");
    let second: Vec<&str> = text[begin..end].lines().map(|line| &line[2..]).filter(keys).collect();
    let whole = format!("{}{}{}", &text[..begin], second.join("\n"), &text[end..]);
    let config = super::read(&whole).unwrap().config;
    assert_eq!(config.proxies[1].name, "proxy.example.com:8080");
    let ProxyKind::Http { credentials: Some(credentials) } = &config.proxies[1].kind else {
        panic!("{:?}", config.proxies[1]);
    };
    assert_eq!(credentials.username, "me");
}

#[test]
fn files_that_are_no_configuration() {
    let folder = Folder::new("none");
    let load = |path: &Path| Config::load(path, Purpose::Daemon).unwrap_err().to_string();
    let missing = load(&folder.0.join("missing.toml"));
    assert!(
        missing.ends_with(
            "missing.toml: cannot read the file: No such file or directory (os error 2)"
        )
    );
    assert!(load(&folder.0).ends_with("cannot read the file: Is a directory (os error 21)"));
    let latin = folder.write("latin.toml", 0o600, b"mode = \"local\"\n# caf\xe9\n");
    assert!(load(&latin).contains("latin.toml:2: found a byte that is not UTF-8"));
    assert!(load(Path::new("/dev/zero")).contains("it has more than 16 MiB"));
}

/// Other programs' files, and what editors do to one's own.
#[test]
fn files_of_others_are_named_and_byte_order_marks_passed_over() {
    let folder = Folder::new("foreign");
    let load = |content: &[u8]| Config::load(&folder.write("f", 0o600, content), Purpose::Daemon);
    for (content, what) in [
        ("{\"proxy-type\": \"ss\"}", "a configuration of SNET, in JSON"),
        ("port: 1\nproxies:\n  - {name: a}\n", "a configuration of Clash or mihomo, in YAML"),
        ("{\"outbounds\": []}", "a configuration of sing-box, in JSON"),
    ] {
        let said = load(content.as_bytes()).unwrap_err();
        assert_eq!(said.problems.len(), 1, "{said}");
        assert!(said.problems[0].contains(&format!("f:1: found {what}; accepted: ")), "{said}");
        assert!(said.problems[0].contains("`snet config import "), "{said}");
    }
    let utf16: Vec<u8> = "\u{feff}mode".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(load(&utf16).unwrap_err().to_string().contains("f:1: found UTF-16"));
    let marked = format!("\u{feff}mode = 5\n{PROXY}");
    let said = load(marked.as_bytes()).unwrap_err().to_string();
    assert!(
        said.ends_with("f:1: mode: found the number 5; accepted: a string: \"local\", \"router\"")
    );
    let marked = format!("\u{feff}{PROXY}");
    let warnings = load(marked.as_bytes()).unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("a byte order mark"), "{warnings:?}");
}

/// Whoever starts with it would see every connection refused.
#[test]
fn the_example_has_to_be_edited() {
    let folder = Folder::new("unedited");
    let said = folder.problems(EXAMPLE);
    let line = EXAMPLE.lines().position(|line| line.starts_with("server =")).unwrap() + 1;
    let found = "found \"ss.example.com:8388\", which stands for yours in the example";
    assert_eq!(
        said,
        [format!("snet.toml:{line}: proxy[1].server: {found}; accepted: your own server")]
    );
    let provider =
        "[[subscription]]\nname = \"a\"\nurl = \"https://provider.example.com/x?token=y\"\n";
    let said = folder.problems(provider);
    assert!(said.len() == 1 && said[0].starts_with("snet.toml:3: subscription[1].url: found"));
    assert!(!said[0].contains("token"), "{said:?}");
    let edited = EXAMPLE.replace("server = \"ss.example.com:8388\"", "server = \"192.0.2.1:8388\"");
    assert!(folder.load(&edited).is_ok());
}

#[test]
fn what_nobody_sees_in_a_password_file_is_said() {
    let folder = Folder::new("unseen");
    let text = format!("{SHADOWSOCKS}password-file = \"pw\"\n");
    for (content, password, said) in [
        ("\u{feff}hunter2\n", "hunter2", "begins with a byte order mark"),
        ("hunter2 \n", "hunter2 ", "ends with a space"),
        ("\thunter2\r\n", "\thunter2", "begins with a space"),
    ] {
        folder.write("pw", 0o600, content);
        let loaded = folder.load(&text).unwrap();
        let ProxyKind::Shadowsocks { key, .. } = &loaded.config.proxies[0].kind else {
            panic!("{:?}", loaded.config.proxies[0]);
        };
        assert_eq!(key.password().expose(), password.as_bytes());
        let warnings = loaded.warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(said), "{warnings:?}");
        assert!(!warnings[0].contains("hunter2"), "{warnings:?}");
    }
}

#[test]
fn the_password_is_the_first_line_of_its_file() {
    let folder = Folder::new("password");
    let text = format!("{SHADOWSOCKS}password-file = \"pw\"\n");
    for content in ["hunter2", "hunter2\n", "hunter2\r\n", "hunter2\nsecond line\n"] {
        folder.write("pw", 0o600, content);
        let loaded = folder.load(&text).unwrap();
        let ProxyKind::Shadowsocks { key, .. } = &loaded.config.proxies[0].kind else {
            panic!("{:?}", loaded.config.proxies[0]);
        };
        assert_eq!(key.password().expose(), b"hunter2");
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }
    folder.write("pw", 0o600, "\nhunter2\n");
    assert_eq!(
        folder.problems(&text),
        ["snet.toml:5: proxy[1].password-file: found an empty first line in pw; accepted: a file \
          whose first line is the password"]
    );
}

#[test]
fn passwords_that_others_can_read() {
    let folder = Folder::new("others");
    let load = |path: PathBuf| Config::load(&path, Purpose::Daemon).unwrap().warnings;
    let with_password = format!("{SHADOWSOCKS}password = \"hunter2\"\n");
    for mode in [0o644, 0o640, 0o602] {
        let path = folder.write("open.toml", mode, &with_password);
        let shown = path.display().to_string();
        assert_eq!(
            load(path),
            [format!(
                "{shown}: it holds a password and is open to others (mode {mode:04o}): \
                 chmod 600 {shown}"
            )]
        );
    }
    assert!(load(folder.write("closed.toml", 0o600, &with_password)).is_empty());
    assert!(load(folder.write("bare.toml", 0o644, PROXY)).is_empty(), "no password in it");

    folder.write("pw", 0o644, "hunter2");
    let warnings =
        load(folder.write("a.toml", 0o644, format!("{SHADOWSOCKS}password-file = \"pw\"\n")));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("a.toml:5: proxy[1].password-file: "), "{warnings:?}");
    assert!(warnings[0].ends_with("/pw"), "{warnings:?}");
}

#[test]
fn lists_in_files() {
    let folder = Folder::new("lists");
    folder.write("china.txt", 0o644, "# mine\n192.0.2.0/24\n2001:db8::/32\n");
    folder.write("cn-names.txt", 0o644, "server=/a.example/114.114.114.114\n");
    folder.write("block.txt", 0o644, "0.0.0.0 ads.example t.example\nb.example\n");
    let text = "[rules]\nchina-ip-file = \"china.txt\"\nchina-domain-file = \"cn-names.txt\"\n\
                block-domain-file = \"block.txt\"\ndirect = [\"t.example\"]\n";
    let rules = folder.load(&format!("{text}{PROXY}")).unwrap().config.rules;
    let name = |text: &str| text.parse::<crate::domain::Name>().unwrap();
    assert!(rules.routes.china.contains("192.0.2.1".parse().unwrap()));
    assert!(
        !rules.routes.china.contains("223.5.5.5".parse().unwrap()),
        "the embedded list is replaced"
    );
    assert!(rules.routes.is_domestic_name(name("www.a.example").as_wire()));
    let route = |text: &str| rules.routes.name_route(name(text).as_wire());
    for blocked in ["ads.example", "b.example", "x.b.example"] {
        assert_eq!(route(blocked), Some(crate::route::Route::Block), "{blocked}");
    }
    assert_eq!(route("x.ads.example"), None, "hosts(5) knows no subdomains");
    assert_eq!(route("t.example"), Some(crate::route::Route::Direct), "the operator wins");

    let global = folder.load(&format!("scope = \"global\"\n{text}{PROXY}")).unwrap();
    assert!(global.config.rules.routes.china.is_empty());
    assert_eq!(global.warnings.len(), 1, "{:?}", global.warnings);
}

#[test]
fn bad_lists_in_files() {
    let folder = Folder::new("bad-lists");
    folder.write("china.txt", 0o644, "192.0.2.1/24\nx\n");
    folder.write("names.txt", 0o644, "a b\n".repeat(13));
    folder.write("latin.txt", 0o644, b"# a.example\n\xe9\n");
    let text = "[rules]\nchina-ip-file = \"china.txt\"\nblock-domain-file = \"names.txt\"\n\
                china-domain-file = \"latin.txt\"\n";
    let problems = folder.problems(&format!("{text}{PROXY}"));
    assert_eq!(
        problems,
        [
            "china.txt: rules.china-ip-file: found 0 lines used, 2 passed over: 1 with a prefix \
             that has host bits (line 1 \"192.0.2.1/24\"); 1 not understood (line 2 \"x\"); \
             accepted: a file with at least one prefix; if nothing is to be domestic, scope = \
             \"global\"",
            "names.txt: rules.block-domain-file: found 0 lines used, 13 passed over: 13 not \
             understood (line 1 \"a b\", line 2 \"a b\", line 3 \"a b\"); accepted: a file with at \
             least one name to use",
            "latin.txt: rules.china-domain-file: found 0 lines used, 1 passed over: 1 with a name \
             that is not ASCII (punycode is understood) (line 2 \"\u{fffd}\"); accepted: a file \
             with at least one name to use",
        ]
    );

    folder.write("china.txt", 0o644, "# nothing\n");
    let problems = folder.problems(&format!("[rules]\nchina-ip-file = \"china.txt\"\n{PROXY}"));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("accepted: a file with at least one prefix"), "{problems:?}");
}

/// Lines that keep nothing from starting, since a program of the list's own ignores them.
#[test]
fn odd_lines_are_passed_over_and_told() {
    let folder = Folder::new("odd-lines");
    folder.write("hosts", 0o644, "\u{feff}fe80::1%lo0 localhost\n0.0.0.0 ads.example\n");
    folder.write("china", 0o644, b"a.example\n.com.cn/js/ad.\n\xe9.example\nb.example");
    folder.write("prefixes", 0o644, "192.0.2.0/24\n192.0.2.1/24\nx\n");
    let text = "[rules]\nblock-domain-file = \"hosts\"\nchina-domain-file = [\"china\"]\n\
                china-ip-file = \"prefixes\"\n";
    let loaded = folder.load(&format!("{text}{PROXY}")).unwrap();
    let name = |text: &str| text.parse::<crate::domain::Name>().unwrap();
    let routes = &loaded.config.rules.routes;
    assert_eq!(routes.name_route(name("ads.example").as_wire()), Some(crate::route::Route::Block));
    for text in ["a.example", "b.example"] {
        assert!(routes.is_domestic_name(name(text).as_wire()), "{text}");
    }
    assert!(routes.china.contains("192.0.2.1".parse().unwrap()));
    let folder = format!("{}/", folder.0.display());
    let lists: Vec<String> =
        loaded.config.rules.lists.iter().map(|list| list.replace(&folder, "")).collect();
    assert_eq!(
        lists,
        [
            "hosts (rules.block-domain-file): 1 line used (hosts), 0 passed over",
            "china (rules.china-domain-file): 2 lines used (plain), 2 passed over: 1 about a part \
             of a site (line 2 \".com.cn/js/ad.\"); 1 with a name that is not ASCII (punycode is \
             understood) (line 3 \"\u{fffd}.example\")",
            "prefixes (rules.china-ip-file): 1 line used (prefixes), 2 passed over: 1 with a \
             prefix that has host bits (line 2 \"192.0.2.1/24\"); 1 not understood (line 3 \"x\")",
        ]
    );
    assert!(loaded.summary().contains("lists     /"), "{}", loaded.summary());
}

#[test]
fn several_files_and_those_that_they_include() {
    let folder = Folder::new("several");
    folder.write("one", 0o644, "a.example\n");
    folder.write("two", 0o644, "include:other @cn\ninclude:two\ninclude:../secret\n");
    folder.write("other", 0o644, "b.example @cn\nc.example\ninclude:two\n");
    folder.write("secret", 0o644, "d.example\n");
    let text = format!("[rules]\nproxy-domain-file = [\"one\", \"two\"]\n{PROXY}");
    let loaded = folder.load(&text).unwrap();
    let routes = &loaded.config.rules.routes;
    let is_foreign = |text: &str| {
        let name: crate::domain::Name = text.parse().unwrap();
        routes.name_route(name.as_wire()) == Some(crate::route::Route::Proxy)
    };
    assert!(is_foreign("a.example") && is_foreign("x.b.example"));
    assert!(!is_foreign("c.example") && !is_foreign("d.example"));
    assert_eq!(loaded.config.rules.lists.len(), 2, "{:?}", loaded.config.rules.lists);
    assert!(loaded.config.rules.lists[1].contains("with a file that cannot be included (line 3 "));

    let text = format!("[rules]\nproxy-domain-file = [\"one\", \"none\", 7]\n{PROXY}");
    let problems = folder.problems(&text);
    assert!(problems.iter().any(|it| it.contains("found none (No such file")), "{problems:?}");
    assert!(problems.iter().any(|it| it.contains("the number 7")), "{problems:?}");
}

#[test]
fn what_is_read_is_not_made() {
    let folder = Folder::new("made");
    folder.write("pw", 0o600, "hunter2");
    folder.write("names.txt", 0o600, "ads.example\n");
    let itself = folder.0.join("snet.toml");
    std::os::unix::fs::symlink(&itself, folder.0.join("link")).unwrap();
    let lists = "[rules]\nblock-domain-file = \"names.txt\"\n";
    let proxy = format!("{SHADOWSOCKS}password-file = \"pw\"\n");
    for (name, role) in [
        ("snet.toml", "the configuration file itself"),
        ("link", "the configuration file itself"),
        ("pw", "the file of proxy[1].password-file"),
        ("names.txt", "the file of rules.block-domain-file"),
    ] {
        let path = folder.0.join(name).display().to_string();
        let control = format!("[control]\nsocket = \"{path}\"\n{lists}{proxy}");
        assert_eq!(
            folder.problems(&control),
            [format!(
                "snet.toml:2: control.socket: found {name} ({role}); accepted: a path for nothing \
                 else"
            )]
        );
        let cache = format!("[dns]\ncache-file = \"{path}\"\n{lists}{proxy}");
        let problems = folder.problems(&cache);
        let what = if name == "link" { "symbolic link" } else { "file that snet has not written" };
        let expected = format!("snet.toml:2: dns.cache-file: found {name}, which is a {what}; ");
        assert!(problems[0].starts_with(&expected), "{problems:?}");
    }
    let both = folder.0.join("both").display().to_string();
    let text = format!("[dns]\ncache-file = \"{both}\"\n[control]\nsocket = \"{both}\"\n{PROXY}");
    assert_eq!(
        folder.problems(&text),
        ["snet.toml:4: control.socket: found both (the file of dns.cache-file); accepted: a path \
             for nothing else"]
    );
}

#[test]
fn a_dashboard_stands_beside_no_secret() {
    let folder = Folder::new("ui");
    let text = |ui: &Path, secret: &Path| {
        format!(
            "{PROXY}[control]\nhttp = \"127.0.0.1:9090\"\nsecret-file = {secret:?}\nui = {ui:?}\n"
        )
    };
    let (ui, other) = (folder.0.join("ui"), folder.0.join("other"));
    for place in [&ui, &ui.join("deep"), &other] {
        fs::create_dir(place).unwrap();
    }
    for index in ["index.html", "ui/index.html"] {
        folder.write(index, 0o644, "<html>");
    }
    let (outside, inside) = ("other/secret", "ui/deep/secret");
    let [outside, inside] = [outside, inside].map(|name| folder.write(name, 0o600, "long enough"));
    folder.load(&text(&ui, &outside)).unwrap();
    for (text, role) in [
        (text(&folder.0, &outside), "the configuration file itself"),
        (text(&ui, &inside), "the file of control.secret-file"),
    ] {
        let problems = folder.problems(&text);
        let found = format!("snet.toml:7: control.ui: found a folder with {role} in it");
        assert!(problems.len() == 1 && problems[0].starts_with(&found), "{problems:?}");
    }
}
