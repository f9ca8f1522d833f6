//! Packs the China list, whose text is 2.5 times as large: each prefix by its address (the first
//! eight bytes of one of IPv6) and its length. `src/ipset/origin.rs` reads it.

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let data = Path::new("../src/data");
    println!("cargo::rerun-if-changed={}", data.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let v4 = fs::read_to_string(data.join("china-ipv4.txt"))?;
    let packed = pack(&v4, |text| Ok(text.parse::<Ipv4Addr>()?.octets()))?;
    fs::write(out.join("china-ipv4"), packed)?;

    let v6 = fs::read_to_string(data.join("china-ipv6.txt"))?;
    let packed = pack(&v6, |text| {
        let [a, b, c, d, e, f, g, h, rest @ ..] = text.parse::<Ipv6Addr>()?.octets();
        if rest != [0; 8] {
            Err(format!("found {text}; accepted: prefixes up to /64"))?
        }
        Ok([a, b, c, d, e, f, g, h])
    })?;
    fs::write(out.join("china-ipv6"), packed)?;

    let source = v4.lines().take(9).find_map(|line| line.strip_prefix("# Source: "));
    Ok(fs::write(out.join("china-source"), source.unwrap_or_default())?)
}

fn pack<const N: usize>(
    text: &str,
    octets: impl Fn(&str) -> Result<[u8; N], Box<dyn Error>>,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut packed = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (address, length) = line.split_once('/').ok_or(format!("no prefix: {line}"))?;
        packed.extend(octets(address).map_err(|error| format!("{line}: {error}"))?);
        packed.push(length.parse().map_err(|error| format!("{line}: {error}"))?);
    }
    Ok(packed)
}
