//! `type = "https"`, and who its server has to be.

use super::files::{AUTHORITY, Folder};
use super::read;
use crate::config::ProxyKind;
use crate::proxy::trust::Trust;

#[test]
fn https_and_who_its_server_is() {
    let tls = |text: &str| {
        let config = read(&format!("[[proxy]]\n{text}")).unwrap().config;
        let proxy = config.proxies.into_iter().next().unwrap();
        let table = proxy.table().to_string();
        assert_eq!(read(&table).unwrap().config.proxies[0].kind, proxy.kind, "{table}");
        let ProxyKind::Https { tls, credentials } = proxy.kind else { panic!("{table}") };
        (tls.name, tls.trust, credentials.map(|it| it.username), proxy.udp)
    };
    let pin = "trAf489PZNvxf9WrZH2e3EtBFXIV3gsEvCrpTk3mI2w=";
    let server = "type = \"https\"\nserver = \"[2001:db8::1]:443\"\n";
    assert_eq!(tls(server), ("2001:db8::1".into(), Trust::Public, None, false));
    let empty = format!("{server}tls-name = \"\"\ntls-pin = \"\"\ntls-ca-file = \"\"\n");
    assert_eq!(tls(&empty), tls(server));
    let pinned = format!("{server}tls-name = \"p.example\"\ntls-pin = \"{pin}\"\n");
    let key = Trust::key(pin).unwrap();
    assert_eq!(tls(&pinned), ("p.example".into(), key.clone(), None, false));
    // A link knows no pin.
    let link = "link = \"https://me:hunter2@p.example?sni=q.example\"\n";
    let me = Some("me".into());
    assert_eq!(tls(link), ("q.example".into(), Trust::Public, me.clone(), false));
    assert_eq!(tls(&format!("{link}tls-pin = \"{pin}\"\n")), ("q.example".into(), key, me, false));
}

#[test]
fn a_file_of_authorities() {
    let folder = Folder::new("authorities");
    let proxy = "[[proxy]]\ntype = \"https\"\nserver = \"192.0.2.1:443\"\n";
    let file = folder.write("ca.pem", 0o644, format!("{AUTHORITY}{AUTHORITY}"));
    let loaded = folder.load(&format!("{proxy}tls-ca-file = \"ca.pem\"\n")).unwrap();
    let ProxyKind::Https { tls, .. } = &loaded.config.proxies[0].kind else { panic!() };
    let Trust::Authorities { file: read, certificates } = &tls.trust else { panic!() };
    assert_eq!((read, certificates.len(), &*tls.name), (&file, 2, "192.0.2.1"));
    let described = format!("https, certificate for 192.0.2.1 by {}\n", file.display());
    assert!(loaded.summary().contains(&described), "{}", loaded.summary());
    folder.write("ca.pem", 0o644, "hello");
    assert_eq!(
        folder.problems(&format!("{proxy}tls-ca-file = \"ca.pem\"\n")),
        ["snet.toml:4: proxy[1].tls-ca-file: found no certificate in ca.pem; accepted: a file in \
          PEM with the certificates of authorities (BEGIN CERTIFICATE)"]
    );
}
