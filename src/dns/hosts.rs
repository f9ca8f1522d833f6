//! Names answered from the file (`dns.hosts`), both ways: name to address and back.
//!
//! A name in the file is answered by the file alone: what it does not say, another address family,
//! HTTPS or MX, is answered with NODATA, so that no record from elsewhere contradicts it. Its
//! subdomains are ordinary names.

use super::reply;
use super::wire::{Query, rr};
use crate::domain::Name;
use std::collections::HashMap;
use std::net::IpAddr;

/// TTL in seconds: a changed file should soon be seen.
const TTL: u32 = 60;

/// What the file says; see [`Hosts::answer`].
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    forward: HashMap<Box<[u8]>, Vec<IpAddr>>,
    /// From reverse names.
    reverse: HashMap<Box<[u8]>, Vec<Name>>,
}

impl Hosts {
    /// Reads `dns.hosts`. Reverse look-ups are answered for every address in it.
    pub fn new(hosts: &HashMap<Name, Vec<IpAddr>>) -> Self {
        let mut built = Hosts::default();
        for (name, addresses) in hosts {
            built.forward.insert(name.as_wire().into(), addresses.clone());
            for address in addresses {
                let names = built.reverse.entry(reverse_name(*address).into()).or_default();
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        // The file's table has no order of its own.
        built.reverse.values_mut().for_each(|names| names.sort_unstable());
        built
    }

    /// Whether the file answers for the name.
    pub fn has(&self, query: &Query) -> bool {
        !self.forward.is_empty()
            && (self.forward.contains_key(query.name()) || self.reverse.contains_key(query.name()))
    }

    /// The message for the client, about a name that the file [has](Hosts::has); `limit` as for
    /// [`Stored::write`](reply::Stored::write).
    pub fn answer(&self, query: &Query, limit: usize) -> Vec<u8> {
        if let Some(addresses) = self.forward.get(query.name()) {
            return reply::addresses(query, addresses, TTL, limit);
        }
        match self.reverse.get(query.name()) {
            Some(names) if query.qtype() == rr::PTR => reply::pointers(query, names, TTL, limit),
            _ => reply::nodata(query, None, TTL),
        }
    }
}

/// The name that PTR records of an address have, in wire form (RFC 1035, 3.5; RFC 3596, 2.5).
pub(super) fn reverse_name(address: IpAddr) -> Vec<u8> {
    let mut wire = Vec::with_capacity(74);
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            for octet in v4.octets().iter().rev() {
                put_label(&mut wire, octet.to_string().as_bytes());
            }
            put_label(&mut wire, b"in-addr");
        }
        IpAddr::V6(v6) => {
            for octet in v6.octets().iter().rev() {
                for nibble in [octet & 15, octet >> 4] {
                    put_label(&mut wire, format!("{nibble:x}").as_bytes());
                }
            }
            put_label(&mut wire, b"ip6");
        }
    }
    put_label(&mut wire, b"arpa");
    wire.push(0);
    wire
}

fn put_label(wire: &mut Vec<u8>, label: &[u8]) {
    // Labels are ours and short.
    wire.push(u8::try_from(label.len()).unwrap_or(0));
    wire.extend(label);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::reply::sample;
    use crate::dns::wire::TCP_SIZE;

    fn query(name: &str, qtype: u16) -> Query {
        sample::query(name, qtype, None)
    }

    fn hosts() -> Hosts {
        let addresses = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Hosts::new(&HashMap::from([
            ("router.lan".parse().unwrap(), addresses(&["192.168.1.1", "fd00::1", "192.168.1.2"])),
            ("gate.lan".parse().unwrap(), addresses(&["192.168.1.1"])),
        ]))
    }

    fn answer(hosts: &Hosts, query: &Query) -> Option<Vec<u8>> {
        hosts.has(query).then(|| hosts.answer(query, TCP_SIZE))
    }

    /// Answers, response code and length of an answer.
    fn outline(answer: &[u8]) -> (u8, u8) {
        (answer[7], answer[3] & 15)
    }

    #[test]
    fn forward() {
        let answer = |name, qtype| answer(&hosts(), &query(name, qtype));
        let a = answer("Router.LAN", rr::A).unwrap();
        assert_eq!(outline(&a), (2, 0));
        assert!(a.ends_with(&[192, 168, 1, 2]));
        assert_eq!(outline(&answer("router.lan", rr::AAAA).unwrap()), (1, 0));
        assert_eq!(outline(&answer("gate.lan", rr::AAAA).unwrap()), (0, 0), "NODATA");
        assert_eq!(outline(&answer("gate.lan", rr::HTTPS).unwrap()), (0, 0), "NODATA");
        assert_eq!(answer("www.gate.lan", rr::A), None);
        assert_eq!(super::tests::answer(&Hosts::default(), &query("gate.lan", rr::A)), None);
    }

    #[test]
    fn reverse() {
        let answer = |name, qtype| answer(&hosts(), &query(name, qtype));
        let both = answer("1.1.168.192.in-addr.arpa", rr::PTR).unwrap();
        assert_eq!(outline(&both), (2, 0));
        assert!(both.ends_with(b"\x06router\x03lan\x00"));
        assert_eq!(outline(&answer("1.1.168.192.in-addr.arpa", rr::A).unwrap()), (0, 0));
        assert_eq!(answer("3.1.168.192.in-addr.arpa", rr::PTR), None);
        let v6 = format!("1.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
        assert!(answer(&v6, rr::PTR).unwrap().ends_with(b"\x06router\x03lan\x00"));
    }
}
