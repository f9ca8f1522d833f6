//! What a `[[proxy]]` says of TLS to its server.

use super::file;
use super::item::Item;
use super::section::Section;
use crate::proxy::trust::{TlsServer, Trust};
use rustls_pki_types::ServerName;

/// Whether this build speaks TLS, and if not, what is said of it where it is wanted.
pub(super) fn spoken() -> Result<(), String> {
    match cfg!(feature = "tls") {
        true => Ok(()),
        false => Err("nothing with TLS: this build of snet speaks none".into()),
    }
}

/// The keys, which only some types take.
pub(super) struct TlsKeys<'a> {
    name: Option<Item<'a>>,
    authorities: Option<Item<'a>>,
    pin: Option<Item<'a>>,
}

impl<'a> TlsKeys<'a> {
    pub(super) fn of(section: &'a Section<'a>) -> Self {
        TlsKeys {
            name: section.item("tls-name"),
            authorities: section.item("tls-ca-file"),
            pin: section.item("tls-pin"),
        }
    }

    /// Those that are written.
    pub(super) fn written(&self) -> impl Iterator<Item = &Item<'a>> {
        [&self.name, &self.authorities, &self.pin].into_iter().flatten()
    }

    /// Reports them as out of place.
    pub(super) fn refuse(&self) {
        for item in self.written() {
            item.refuse::<()>("nothing: only type = \"https\" speaks TLS");
        }
    }

    /// `host` is the server's. `None`: something was refused.
    pub(super) fn read(&self, host: Option<&str>) -> Option<TlsServer> {
        let [name, authorities, pin] = [&self.name, &self.authorities, &self.pin]
            .map(|item| item.as_ref().filter(|item| !item.is_empty_text()));
        for item in [name, authorities, pin].into_iter().flatten() {
            item.note_change();
        }
        let name = match name {
            Some(item) => item.parse(server_name),
            None => host.map(str::to_owned),
        };
        let trust = match (authorities, pin) {
            (None, None) => Some(Trust::Public),
            (Some(item), None) => file::authorities(item),
            (None, Some(item)) => pinned(item),
            (Some(item), Some(pin)) => {
                let found = format!("a tls-pin beside the tls-ca-file of line {}", item.line());
                pin.refuse_as(found, "one of the two: a key that is known needs no authority")
            }
        };
        Some(TlsServer { name: name?, trust: trust? })
    }
}

/// A name that a certificate can be for, or an address without brackets.
pub(super) fn server_name(text: &str) -> Result<String, String> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("a host name or an address, as the server's certificate has it".into()),
    }
}

fn pinned(item: &Item<'_>) -> Option<Trust> {
    const WANTED: &str = "the SHA-256 of the server's public key (SPKI) in base64, 44 characters";
    match Trust::key(&item.parse(|text| Ok(text.to_owned()))?) {
        Ok(trust) => Some(trust),
        Err(found) => item.refuse_as(found, WANTED),
    }
}
