//! `snet link`, the command: what it reads, what it prints, how it ends.

use std::io::Write;
use std::process::{Command, Output, Stdio};

const LINK: &str = "ss://aes-256-gcm:p%40ss@h.example:8388#HK+01";
const CANONICAL: &str = "ss://YWVzLTI1Ni1nY206cEBzcw@h.example:8388#HK%2001";
const TABLE: &str = "[[proxy]]\nname = \"HK 01\"\ntype = \"shadowsocks\"\n\
                     server = \"h.example:8388\"\nmethod = \"aes-256-gcm\"\npassword = \"p@ss\"\n";

fn snet_link(arguments: &[&str], stdin: &str) -> (Option<i32>, String, String) {
    let mut snet = Command::new(env!("CARGO_BIN_EXE_snet"))
        .arg("link")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is built");
    let mut pipe = snet.stdin.take().expect("a pipe");
    // It may end without reading.
    let _ = pipe.write_all(stdin.as_bytes());
    drop(pipe);
    let Output { status, stdout, stderr } = snet.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn links_of_a_pipe_are_printed_in_both_forms() {
    let socks = "socks5://me:pw@[2001:db8::1]:1080";
    let (code, printed, said) = snet_link(&[], &format!("{LINK}\r\n\r\n{socks}"));
    let second = format!(
        "{socks}\n\n[[proxy]]\ntype = \"socks5\"\nserver = \"[2001:db8::1]:1080\"\n\
         username = \"me\"\npassword = \"pw\"\n"
    );
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(printed, format!("{CANONICAL}\n\n{TABLE}\n{second}"));
    // What it printed is read again.
    assert_eq!(snet_link(&[], CANONICAL).1, format!("{CANONICAL}\n\n{TABLE}"));
}

#[test]
fn the_proxies_of_a_file_are_printed() {
    let folder = std::env::temp_dir().join(format!("snet-link-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("config.toml");
    let text = format!("{TABLE}[[proxy]]\ntype = \"http\"\nserver = \"p.example:80\"\n");
    std::fs::write(&file, text).expect("a file");
    let path = file.display().to_string();
    let (code, all, _) = snet_link(&["-c", &path], "");
    assert!(code == Some(0) && all.starts_with(CANONICAL) && all.contains("http://p.example:80\n"));
    let (code, one, _) = snet_link(&["-c", &path, "HK 01"], "");
    assert_eq!((code, one), (Some(0), format!("{CANONICAL}\n\n{TABLE}")));
    let (code, _, said) = snet_link(&["-c", &path, "HK"], "");
    assert_eq!(code, Some(78));
    assert!(said.contains("no such proxy; there are: \"HK 01\", \"p.example:80\""), "{said}");
    std::fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn what_is_wrong_is_said_without_the_password() {
    for (stdin, code, expected) in [
        ("", 64, "standard input has no link"),
        ("\n \n", 64, "standard input has no link"),
        ("http://p.example:80\nss://hunter2@h.example:1", 78, "line 2: found "),
        ("ss://rc4-md5:hunter2@h.example:1", 78, "line 1: found the method \"rc4-md5\""),
        ("vless://hunter2@h.example:1", 78, "line 1: found a vless:// link"),
    ] {
        let (ended, printed, said) = snet_link(&[], stdin);
        assert_eq!((ended, printed.as_str()), (Some(code), ""), "{stdin}: {said}");
        assert!(said.contains(expected) && !said.contains("hunter2"), "{stdin}: {said}");
    }
}

/// Every user of the machine could read it there.
#[test]
fn a_link_is_no_argument() {
    let (code, printed, _) = snet_link(&[LINK], LINK);
    assert_eq!((code, printed.as_str()), (Some(64), ""));
}
