//! /etc/hosts (hosts(5)): what the operator wrote there holds for the proxies' names too.

use crate::domain::Name;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;

const PATH: &str = "/etc/hosts";

/// Files with a million blocked names exist; more is not read.
const LONGEST: u64 = 64 << 20;

/// The addresses that the file gives for a name; none if it cannot be read.
pub(super) fn addresses(name: &Name) -> Vec<IpAddr> {
    let mut text = Vec::new();
    let read = File::open(PATH).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    match read {
        Ok(_) => find(&String::from_utf8_lossy(&text), name),
        Err(_) => Vec::new(),
    }
}

fn find(text: &str, name: &Name) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        words.any(|word| word.parse::<Name>().is_ok_and(|known| known == *name)).then_some(address)
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_in_any_case() {
        let text = "127.0.0.1 localhost\n# 192.0.2.1 ss.example\n192.0.2.2\tother SS.Example. # x\n\
                    2001:db8::2 ss.example\nnonsense ss.example\n\
                    fe80::1%eth0 ss.example\n\n192.0.2.3\n";
        let find = |name: &str| find(text, &name.parse().unwrap());
        let expected: Vec<IpAddr> =
            vec!["192.0.2.2".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        assert_eq!(find("ss.example"), expected);
        assert_eq!(find("x"), [] as [IpAddr; 0]);
    }
}
