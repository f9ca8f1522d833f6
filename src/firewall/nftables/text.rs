//! A table in the syntax of nft(8), so that `nft -c -f -` takes it.

use super::table::{
    AddressType, ChainKind, Element, Expression, InterfaceName, Is, NftChain, NftFlowtable,
    NftTable, Protocol, SetKey, Shape, Way,
};
use crate::family::Family;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

impl Display for NftTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {} {{", self.name)?;
        writeln!(f, "\tflags owner")?;
        for set in &self.sets {
            writeln!(f, "\n\tset {} {{\n\t\ttype {}", set.name, set.key)?;
            match set.shape {
                Shape::Intervals => writeln!(f, "\t\tflags interval")?,
                Shape::Values | Shape::Latch => {}
                Shape::Expiring { size } => writeln!(f, "\t\tsize {size}\n\t\tflags timeout")?,
                Shape::Switch { timeout } => {
                    writeln!(f, "\t\tflags timeout\n\t\ttimeout {}s", timeout.as_secs())?;
                }
                Shape::Flows { size, timeout } => {
                    let timeout = timeout.as_secs();
                    writeln!(f, "\t\tsize {size}\n\t\tflags dynamic,timeout")?;
                    writeln!(f, "\t\ttimeout {timeout}s")?;
                }
            }
            if !set.elements.is_empty() {
                writeln!(f, "\t\telements = {{")?;
                set.elements.iter().try_for_each(|element| writeln!(f, "\t\t\t{element},"))?;
                writeln!(f, "\t\t}}")?;
            }
            writeln!(f, "\t}}")?;
        }
        if let Some(NftFlowtable { name, devices }) = &self.flowtable {
            let devices: Vec<String> = devices.iter().map(InterfaceName::to_string).collect();
            writeln!(f, "\n\tflowtable {name} {{\n\t\thook ingress priority 0")?;
            writeln!(f, "\t\tdevices = {{ {} }}\n\t\tcounter\n\t}}", devices.join(", "))?;
        }
        for name in &self.counters {
            writeln!(f, "\n\tcounter {name} {{\n\t}}")?;
        }
        self.chains.iter().try_for_each(|chain| write!(f, "\n{chain}"))?;
        writeln!(f, "}}")
    }
}

impl NftChain {
    /// For an error.
    pub(super) fn in_words(&self) -> String {
        match self.hook {
            Some(hook) if hook.kind == ChainKind::Nat => {
                format!("chain {} (type nat, family inet)", self.name)
            }
            _ => format!("chain {}", self.name),
        }
    }
}

impl Display for NftChain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(hook) = self.hook {
            let kind = hook.kind.name();
            let point = hook.point.name();
            let priority = hook.priority;
            writeln!(f, "\t\ttype {kind} hook {point} priority {priority}; policy accept;")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{}", line(rule))?;
        }
        writeln!(f, "\t}}")
    }
}

/// One rule, as it stands in its chain.
pub(super) fn line(rule: &[Expression]) -> String {
    rule.iter().map(Expression::to_string).collect::<Vec<_>>().join(" ")
}

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Family(family) => write!(f, "meta nfproto {}", nfproto(*family)),
            Expression::FamilyIn(is, set) => write!(f, "meta nfproto {is}@{set}"),
            Expression::Protocol(protocol) => write!(f, "meta l4proto {protocol}"),
            Expression::ToLoopback => f.write_str("oif lo"),
            Expression::FromLoopback => f.write_str("iif lo"),
            Expression::FromInterfaceIn(is, set) => write!(f, "iifname {is}@{set}"),
            Expression::FromInterface(name) => write!(f, "iifname {name}"),
            Expression::ToInterface(name) => write!(f, "oifname {name}"),
            Expression::FromSet(family, set) => write!(f, "{} saddr @{set}", header(*family)),
            Expression::SourcePort(protocol, port) => write!(f, "{protocol} sport {port}"),
            Expression::Port(protocol, is, port) => write!(f, "{protocol} dport {is}{port}"),
            Expression::Marked(mark) => {
                write!(f, "meta mark & {:#010x} == {:#010x}", mark.mask(), mark.value())
            }
            Expression::User(user) => write!(f, "meta skuid {user}"),
            Expression::Cgroup(path, level, _) => {
                write!(f, "socket cgroupv2 level {level} \"{path}\"")
            }
            Expression::To(is, prefix) => {
                let range = Element::Range(prefix.network(), prefix.broadcast());
                write!(f, "{} daddr {is}{range}", header(Family::of(prefix.addr())))
            }
            Expression::ToSet(is, family, set) => write!(f, "{} daddr {is}@{set}", header(*family)),
            Expression::FromType(is, kind) => write!(f, "fib saddr type {is}{kind}"),
            Expression::ToType(is, kind) => write!(f, "fib daddr type {is}{kind}"),
            Expression::Translated => f.write_str("ct status dnat"),
            Expression::StrayComplaint(Family::V4) => {
                f.write_str("meta l4proto icmp @th,0,16 0x0303 ct state invalid")
            }
            Expression::StrayComplaint(Family::V6) => {
                f.write_str("meta l4proto ipv6-icmp @th,0,16 0x0104 ct state invalid")
            }
            Expression::StrayUnreachable(Family::V4) => {
                f.write_str("meta l4proto icmp @th,0,8 3 ct state invalid")
            }
            Expression::StrayUnreachable(Family::V6) => {
                f.write_str("meta l4proto ipv6-icmp @th,0,8 1 ct state invalid")
            }
            Expression::Untracked => f.write_str("ct state untracked"),
            Expression::FlowIn(family, way, set) => write!(f, "{} @{set}", flow(*family, *way)),
            Expression::Begins => f.write_str("ct state new ct direction original"),
            Expression::Lasts => {
                f.write_str("ct direction original ct state established ct status assured")
            }
            Expression::Labelled(label) => write!(f, "ct label {label}"),
            Expression::Forth => f.write_str("ct direction original"),
            Expression::Syn => f.write_str("tcp flags & (fin|syn|rst|ack) == syn"),
            Expression::Zone(zone) => write!(f, "ct zone set {zone}"),
            Expression::Redirect(port) => write!(f, "redirect to :{port}"),
            Expression::Translate(address, port) => write!(f, "dnat ip6 to [{address}]:{port}"),
            Expression::Mark(mark) => {
                write!(f, "meta mark set meta mark | {:#010x}", mark.value())
            }
            Expression::Untrack => f.write_str("notrack"),
            Expression::Remember(family, way, set) => {
                write!(f, "update @{set} {{ {} }}", flow(*family, *way))
            }
            Expression::Label(label) => write!(f, "ct label set {label}"),
            Expression::Count(counter) => write!(f, "counter name {counter}"),
            Expression::Offload(flowtable) => write!(f, "flow add @{flowtable}"),
            Expression::Tproxy(socket) => {
                let header = header(Family::of(socket.ip()));
                write!(f, "meta l4proto udp tproxy {header} to {socket}")
            }
            Expression::Accept => f.write_str("accept"),
            Expression::Drop => f.write_str("drop"),
            Expression::Trace => f.write_str("meta nftrace set 1"),
            Expression::Reset => f.write_str("reject with tcp reset"),
            // In a table of both families that is port-unreachable of either.
            Expression::Unreachable => f.write_str("reject"),
            Expression::Return => f.write_str("return"),
            Expression::Jump(chain) => write!(f, "jump {chain}"),
            Expression::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Element::Family(family) => f.write_str(nfproto(*family)),
            Element::Interface(name) => name.fmt(f),
            Element::Flow(from, to) => {
                write!(f, "{} . {} . {} . {}", from.ip(), from.port(), to.ip(), to.port())
            }
            Element::Range(first, last) if first == last => write!(f, "{first}"),
            Element::Range(first, last) => match prefix_length(*first, *last) {
                Some(length) => write!(f, "{first}/{length}"),
                None => write!(f, "{first}-{last}"),
            },
        }
    }
}

/// If the range is one prefix: its length.
fn prefix_length(first: IpAddr, last: IpAddr) -> Option<u32> {
    let (first, last, width) = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            (u128::from(u32::from(first)), u128::from(u32::from(last)), 32)
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => (u128::from(first), u128::from(last), 128),
        _ => return None,
    };
    // The bits in which they differ are all 0 in the first, all 1 in the last, and at the end.
    let host = first ^ last;
    let is_prefix = host & host.wrapping_add(1) == 0 && first & host == 0;
    is_prefix.then(|| width - host.count_ones())
}

impl Display for InterfaceName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bytes = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        write!(f, "\"{}\"", String::from_utf8_lossy(bytes))
    }
}

impl Display for SetKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SetKey::Address(Family::V4) => "ipv4_addr",
            SetKey::Address(Family::V6) => "ipv6_addr",
            SetKey::Family => "nf_proto",
            SetKey::Interface => "ifname",
            SetKey::Flow(Family::V4) => "ipv4_addr . inet_service . ipv4_addr . inet_service",
            SetKey::Flow(Family::V6) => "ipv6_addr . inet_service . ipv6_addr . inet_service",
        })
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

impl Display for Is {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Is::In => "",
            Is::NotIn => "!= ",
        })
    }
}

impl Display for AddressType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressType::Local => "local",
            AddressType::Broadcast => "broadcast",
            AddressType::Multicast => "multicast",
        })
    }
}

impl ChainKind {
    /// As the kernel spells it, too.
    pub(super) fn name(self) -> &'static str {
        match self {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
            ChainKind::Route => "route",
        }
    }
}

impl super::table::Point {
    fn name(self) -> &'static str {
        match self {
            super::table::Point::Prerouting => "prerouting",
            super::table::Point::Input => "input",
            super::table::Point::Forward => "forward",
            super::table::Point::Output => "output",
            super::table::Point::Postrouting => "postrouting",
        }
    }
}

fn nfproto(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn flow(family: Family, way: Way) -> String {
    let header = header(family);
    let end = |address, port| format!("{header} {address} . udp {port}");
    let (from, to) = (end("saddr", "sport"), end("daddr", "dport"));
    match way {
        Way::Same => format!("{from} . {to}"),
        Way::Back => format!("{to} . {from}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_are_prefixes_are_written_so() {
        let text = |first: &str, last: &str| {
            Element::Range(first.parse().unwrap(), last.parse().unwrap()).to_string()
        };
        assert_eq!(text("10.0.0.0", "10.255.255.255"), "10.0.0.0/8");
        assert_eq!(text("0.0.0.0", "127.255.255.255"), "0.0.0.0/1");
        assert_eq!(text("0.0.0.0", "255.255.255.255"), "0.0.0.0/0");
        assert_eq!(text("1.0.1.0", "1.0.3.255"), "1.0.1.0-1.0.3.255");
        assert_eq!(text("1.0.1.4", "1.0.1.9"), "1.0.1.4-1.0.1.9");
        assert_eq!(text("192.0.2.1", "192.0.2.1"), "192.0.2.1");
        assert_eq!(text("2001:db8::", "2001:db8::ffff"), "2001:db8::/112");
        assert_eq!(text("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "::/0");
        assert_eq!(text("fe80::", "fec0::"), "fe80::-fec0::");
    }
}
