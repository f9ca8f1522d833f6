//! `method` of a shadowsocks server: the methods that are spoken, and what is known of the others.
//!
//! A server answers another method than its own with silence. So for one that exists elsewhere
//! nothing is suggested, however near a name may be: whoever obeyed would see nothing at all.

use super::item::Item;
use super::shown::show_text;
use crate::proxy::shadowsocks::cipher::method::Method;
use crate::share_link::LinkProblem;

/// Old stream ciphers whose names have no ending in common.
const STREAMS: [&str; 8] =
    ["rc4", "rc4-md5", "rc4-md5-6", "chacha20", "chacha20-ietf", "xchacha20", "salsa20", "table"];

/// What the names of the other stream ciphers end with: `aes-256-cfb`, `camellia-128-cfb`.
const STREAM_ENDINGS: [&str; 6] = ["-cfb", "-cfb1", "-cfb8", "-cfb128", "-ctr", "-ofb"];

const NO_CIPHERS: [&str; 3] = ["none", "plain", "dummy"];

/// Pieces of names that belong to ciphers of today which snet does not have.
const OTHERS: [&str; 12] = [
    "aes-192-",
    "xchacha20-",
    "chacha8-",
    "chacha12-",
    "-ccm",
    "-gcm-siv",
    "-ocb-",
    "sm4-",
    "aegis-",
    "ascon",
    "lea-",
    "rabbit128-",
];

/// Reads the key.
pub(super) fn read(item: &Item<'_>) -> Option<Method> {
    let Some(text) = item.text() else { return item.choice(&named()) };
    if let Some(what) = unspoken(text) {
        return item.refuse_as(format!("{}, {what}", show_text(text)), on_the_server_too());
    }
    match of_other_name(text) {
        Some(meant) => item.refuse(format!("{} (did you mean \"{meant}\"?)", list())),
        None => item.choice(&named()),
    }
}

/// The method of a link.
pub(super) fn of_link(name: &str) -> Result<Method, LinkProblem> {
    name.parse().map_err(|_| {
        let found = format!("the method {}", show_text(name));
        match unspoken(name) {
            Some(what) => {
                LinkProblem { found: format!("{found}, {what}"), accepted: on_the_server_too() }
            }
            None => LinkProblem { found, accepted: list() },
        }
    })
}

/// What a method is that shadowsocks knows, or knew, and snet does not speak. `None`: it is spoken,
/// or nobody knows it.
fn unspoken(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let name = name.as_str();
    if STREAMS.contains(&name) || STREAM_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        Some("an old cipher, which snet does not speak: whoever is on the way can change its bytes")
    } else if NO_CIPHERS.contains(&name) {
        Some("no encryption at all, which snet does not speak")
    } else if OTHERS.iter().any(|piece| name.contains(piece)) {
        Some("a cipher that snet does not speak")
    } else {
        None
    }
}

/// The method that other programs call so.
pub(super) fn of_other_name(name: &str) -> Option<Method> {
    match name.to_ascii_uppercase().as_str() {
        "AEAD_AES_128_GCM" => Some(Method::Aes128Gcm),
        "AEAD_AES_256_GCM" => Some(Method::Aes256Gcm),
        "AEAD_CHACHA20_POLY1305" => Some(Method::Chacha20IetfPoly1305),
        _ => None,
    }
}

/// What is accepted in the place of an [`unspoken`] method.
fn on_the_server_too() -> String {
    format!("one of these, once the server has been changed to it too: {}", list())
}

/// All methods, as the file has them.
pub(super) fn list() -> String {
    Method::ALL.map(|method| format!("\"{method}\"")).join(", ")
}

fn named() -> [(&'static str, Method); Method::ALL.len()] {
    Method::ALL.map(|method| (method.name(), method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_speak_is_told_apart() {
        let of_libev = "rc4 rc4-md5 aes-128-cfb aes-192-cfb aes-256-cfb aes-128-ctr aes-192-ctr \
                        aes-256-ctr bf-cfb camellia-128-cfb camellia-192-cfb camellia-256-cfb \
                        cast5-cfb des-cfb idea-cfb rc2-cfb seed-cfb salsa20 chacha20 chacha20-ietf \
                        table AES-256-CFB aes-256-cfb8";
        for old in of_libev.split_whitespace() {
            assert!(unspoken(old).unwrap().starts_with("an old cipher"), "{old}");
        }
        for other in ["aes-192-gcm", "xchacha20-ietf-poly1305", "2022-blake3-chacha8-poly1305"] {
            assert_eq!(unspoken(other), Some("a cipher that snet does not speak"), "{other}");
        }
        assert!(unspoken("plain").unwrap().starts_with("no encryption"));
        for method in Method::ALL {
            assert_eq!(unspoken(method.name()), None);
        }
        assert_eq!(unspoken("aes-265-gcm"), None);
    }
}
