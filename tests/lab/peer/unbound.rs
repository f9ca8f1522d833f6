//! unbound: a name server that speaks UDP, TCP, TLS and HTTPS.

use crate::process::{FOLDER, Place, Running, unprivileged};
use crate::world::{FAMILIES, Family, Host};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// That of `dns.example` with its key, and [`authority`].
pub fn certificates() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/dns/tests/certificates"))
}

/// Who signed the certificate of `dns.example`; for `SNET_ROOTS`.
pub fn authority() -> PathBuf {
    certificates().join("authority.der")
}

/// A file of [`certificates`] in PEM, with lines as long as every reader takes them.
pub fn pem(name: &str, kind: &str) -> String {
    let der = fs::read(certificates().join(name)).expect("it is in the repository");
    let file = Path::new(FOLDER).join(format!("{name}.pem"));
    let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let lines = lines.join("\n");
    fs::write(&file, format!("-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\n"))
        .expect("the tmpfs is writable");
    file.display().to_string()
}

/// Answers these names, and everything below them, with the addresses of these hosts.
pub fn start(host: Host, records: &[(&str, Host)]) -> Running {
    let (key, certificate) =
        (pem("dns.example.key.der", "PRIVATE KEY"), pem("dns.example.der", "CERTIFICATE"));
    let mut text = format!(
        "server:\n\
         do-daemonize: no\nusername: \"\"\nchroot: \"\"\ndirectory: \"{FOLDER}\"\npidfile: \"\"\n\
         use-syslog: no\nverbosity: 1\nmodule-config: \"iterator\"\nnum-threads: 1\n\
         tls-service-key: \"{key}\"\ntls-service-pem: \"{certificate}\"\n\
         tls-port: 853\nhttps-port: 443\nhttp-endpoint: \"/dns-query\"\n\
         access-control: 0.0.0.0/0 allow\naccess-control: ::/0 allow\n"
    );
    for family in FAMILIES {
        for port in ["", "@853", "@443"] {
            // A String takes every write.
            let _ = writeln!(text, "interface: {}{port}", host.ip(family));
        }
    }
    for (name, target) in records {
        let _ = writeln!(text, "local-zone: \"{name}.\" redirect");
        for (family, kind) in [(Family::V4, "A"), (Family::V6, "AAAA")] {
            let ip = target.ip(family);
            let _ = writeln!(text, "local-data: \"{name}. 300 IN {kind} {ip}\"");
        }
    }
    text.push_str("remote-control:\ncontrol-enable: no\n");
    let file = crate::process::new_file("unbound.conf");
    fs::write(&file, text).expect("the tmpfs is writable");
    let mut command = unprivileged(Place::Internet, "unbound");
    command.args(["-d", "-p", "-c"]).arg(file);
    let mut server = Running::start("unbound", &mut command);
    super::wait_for_listener(&mut server, host.port(Family::V6, 443));
    server
}
