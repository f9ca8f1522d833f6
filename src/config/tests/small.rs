//! What a build without the default features says of what it does not have.

use super::problems;

#[test]
fn whatever_needs_tls_is_refused() {
    let proxy = "[[proxy]]\nserver = \"p.example:443\"\n";
    for (text, line) in [
        (format!("{proxy}type = \"https\"\n"), 3),
        ("[[proxy]]\nlink = \"https://p.example\"\n".to_owned(), 2),
        ("[dns]\ntrusted = [\"tls://dns.example@192.0.2.53\"]\n".to_owned(), 2),
        ("[dns]\ntrusted = [\"https://dns.example/dns-query@192.0.2.53\"]\n".to_owned(), 2),
        ("[household]\ndns-over-tls = \"192.0.2.1\"\n".to_owned(), 2),
        ("[household]\ndns-over-https = \"192.0.2.1\"\n".to_owned(), 2),
    ] {
        let said = problems(&text).join("\n");
        let place = format!("snet.toml:{line}: ");
        let wanted = "this build of snet speaks none";
        assert!(said.contains(&place) && said.contains(wanted), "{text}{said}");
    }
}

#[cfg(not(feature = "import"))]
#[test]
fn a_subscription_is_refused() {
    for origin in
        ["url = \"https://p.example/\"", "url = \"http://p.example/\"", "file = \"a.yaml\""]
    {
        let text = format!("[[subscription]]\nname = \"a\"\n{origin}\n");
        let wanted =
            ["snet.toml:1: subscription: found [[subscription]]; accepted: [[proxy]]: this \
                       build of snet takes no other"];
        assert_eq!(problems(&text), wanted);
    }
}

#[cfg(feature = "import")]
#[test]
fn what_is_fetched_is_refused() {
    for scheme in ["https", "http"] {
        let text = format!("[[subscription]]\nname = \"a\"\nurl = \"{scheme}://p.example/\"\n");
        let said = problems(&text).join("\n");
        assert!(said.contains("this build of snet fetches nothing"), "{said}");
    }
}

#[test]
fn a_control_over_http_is_refused() {
    let said = problems("[control]\nhttp = \"127.0.0.1:9090\"\n").join("\n");
    assert!(said.contains("this build of snet serves no HTTP"), "{said}");
}
