//! The rules in the kernel's words: each [`Expression`] is a few instructions of its little
//! machine (struct nft_expr_ops), which load into a register, change it, compare it.
//!
//! Byte for byte what nft(8) makes of [`text`](super::text); a test holds one against the other.
//! As nft does, a match on a header first makes sure, once for a rule, that the packet has such a
//! header: the table is for both families.
//!
//! The numbers are in [`numbers`](super::numbers). Source: `nft --debug=netlink`.

use super::numbers::*;
use super::program::Program;
use super::table::{AddressType, Expression, Is, Protocol, Way};
use super::values::{LABELS, label_bits, nfproto, octets};
use crate::family::Family;
use crate::firewall::netlink::Attributes;
use crate::mark::Fwmark;
use ipnet::IpNet;
use std::net::SocketAddr;

/// The instructions of one rule, as elements of a list.
pub(super) fn encode(rule: &[Expression], list: &mut Attributes) {
    let mut program = Program::new(list);
    rule.iter().for_each(|expression| program.expression(expression));
}

impl Program<'_> {
    fn expression(&mut self, expression: &Expression) {
        match expression {
            Expression::Family(family) => self.require_family(*family),
            Expression::Protocol(protocol) => self.require_protocol(*protocol),
            Expression::FamilyIn(is, set) => {
                self.meta(NFT_META_NFPROTO);
                self.lookup(set, *is);
            }
            Expression::ToLoopback => {
                self.meta(NFT_META_OIF);
                self.compare(NFT_CMP_EQ, &LOOPBACK.to_ne_bytes());
            }
            Expression::FromLoopback => {
                self.meta(NFT_META_IIF);
                self.compare(NFT_CMP_EQ, &LOOPBACK.to_ne_bytes());
            }
            Expression::FromInterfaceIn(is, set) => {
                self.meta(NFT_META_IIFNAME);
                self.lookup(set, *is);
            }
            Expression::FromInterface(name) => {
                self.meta(NFT_META_IIFNAME);
                self.compare(NFT_CMP_EQ, &name.0);
            }
            Expression::ToInterface(name) => {
                self.meta(NFT_META_OIFNAME);
                self.compare(NFT_CMP_EQ, &name.0);
            }
            Expression::FromSet(family, set) => {
                self.address(*family, SOURCE, width(*family));
                self.lookup(set, Is::In);
            }
            Expression::SourcePort(protocol, port) => {
                self.port(*protocol, SOURCE_PORT, Is::In, *port);
            }
            Expression::Port(protocol, is, port) => {
                self.port(*protocol, DESTINATION_PORT, *is, *port);
            }
            Expression::Marked(mark) => {
                self.meta(NFT_META_MARK);
                self.mask(&mark.mask().to_ne_bytes());
                self.compare(NFT_CMP_EQ, &mark.value().to_ne_bytes());
            }
            Expression::User(user) => {
                self.meta(NFT_META_SKUID);
                self.compare(NFT_CMP_EQ, &user.to_ne_bytes());
            }
            Expression::Cgroup(_, level, number) => {
                self.push("socket", |socket| {
                    socket.number(NFTA_SOCKET_KEY, NFT_SOCKET_CGROUPV2);
                    socket.number(NFTA_SOCKET_DREG, NFT_REG_1);
                    socket.number(NFTA_SOCKET_LEVEL, *level);
                });
                self.compare(NFT_CMP_EQ, &number.to_ne_bytes());
            }
            Expression::To(is, prefix) => self.destination_in(*is, *prefix),
            Expression::ToSet(is, family, set) => {
                self.address(*family, DESTINATION, width(*family));
                self.lookup(set, *is);
            }
            Expression::FromType(is, kind) => self.address_type(NFTA_FIB_F_SADDR, *is, *kind),
            Expression::ToType(is, kind) => self.address_type(NFTA_FIB_F_DADDR, *is, *kind),
            Expression::Translated => self.conntrack_bit(NFT_CT_STATUS, IPS_DST_NAT),
            Expression::StrayComplaint(family) => {
                let (protocol, type_and_code) = match family {
                    Family::V4 => (IPPROTO_ICMP, ICMP_PORT_UNREACHABLE),
                    Family::V6 => (IPPROTO_ICMPV6, ICMPV6_PORT_UNREACHABLE),
                };
                self.meta(NFT_META_L4PROTO);
                self.compare(NFT_CMP_EQ, &[protocol]);
                self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2);
                self.compare(NFT_CMP_EQ, &type_and_code);
                self.conntrack_bit(NFT_CT_STATE, STATE_INVALID);
            }
            Expression::StrayUnreachable(family) => {
                let (protocol, unreachable) = match family {
                    Family::V4 => (IPPROTO_ICMP, ICMP_UNREACHABLE),
                    Family::V6 => (IPPROTO_ICMPV6, ICMPV6_UNREACHABLE),
                };
                self.meta(NFT_META_L4PROTO);
                self.compare(NFT_CMP_EQ, &[protocol]);
                self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1);
                self.compare(NFT_CMP_EQ, &[unreachable]);
                self.conntrack_bit(NFT_CT_STATE, STATE_INVALID);
            }
            Expression::Untracked => self.conntrack_bit(NFT_CT_STATE, STATE_UNTRACKED),
            Expression::FlowIn(family, way, set) => {
                self.flow(*family, *way);
                self.lookup(set, Is::In);
            }
            Expression::Begins => {
                self.conntrack_bit(NFT_CT_STATE, STATE_NEW);
                self.conntrack(NFT_CT_DIRECTION);
                self.compare(NFT_CMP_EQ, &[ORIGINAL]);
            }
            Expression::Lasts => {
                self.conntrack(NFT_CT_DIRECTION);
                self.compare(NFT_CMP_EQ, &[ORIGINAL]);
                self.conntrack_bit(NFT_CT_STATE, STATE_ESTABLISHED);
                self.conntrack_bit(NFT_CT_STATUS, IPS_ASSURED);
            }
            Expression::Labelled(label) => {
                let bits = label_bits(*label);
                self.conntrack(NFT_CT_LABELS);
                self.mask(&bits);
                self.compare(NFT_CMP_NEQ, &[0; LABELS]);
            }
            Expression::Forth => {
                self.conntrack(NFT_CT_DIRECTION);
                self.compare(NFT_CMP_EQ, &[ORIGINAL]);
            }
            Expression::Syn => {
                self.require_protocol(Protocol::Tcp);
                self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS, 1);
                self.mask(&[FIN_SYN_RST_ACK]);
                self.compare(NFT_CMP_EQ, &[SYN]);
            }
            Expression::Zone(zone) => {
                self.immediate(NFT_REG_1, &zone.to_ne_bytes());
                self.push("ct", |ct| {
                    ct.number(NFTA_CT_KEY, NFT_CT_ZONE);
                    ct.number(NFTA_CT_SREG, NFT_REG_1);
                });
            }
            Expression::Redirect(port) => {
                self.immediate(NFT_REG_1, &port.to_be_bytes());
                self.push("redir", |redir| redir.number(NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1));
            }
            Expression::Translate(address, port) => {
                self.immediate(NFT_REG_1, &address.octets());
                self.immediate(NFT_REG_2, &port.to_be_bytes());
                self.push("nat", |nat| {
                    nat.number(NFTA_NAT_TYPE, NFT_NAT_DNAT);
                    nat.number(NFTA_NAT_FAMILY, nfproto(Family::V6).into());
                    nat.number(NFTA_NAT_REG_ADDR_MIN, NFT_REG_1);
                    nat.number(NFTA_NAT_REG_PROTO_MIN, NFT_REG_2);
                    nat.number(NFTA_NAT_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
                });
            }
            Expression::Mark(mark) => self.set_mark(*mark),
            Expression::Untrack => self.push("notrack", |_| {}),
            Expression::Remember(family, way, set) => {
                self.flow(*family, *way);
                self.push("dynset", |dynset| {
                    dynset.text(NFTA_DYNSET_SET_NAME, set);
                    dynset.number(NFTA_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
                    dynset.number(NFTA_DYNSET_SREG_KEY, NFT_REG_1);
                });
            }
            Expression::Label(label) => {
                self.immediate(NFT_REG_1, &label_bits(*label));
                self.push("ct", |ct| {
                    ct.number(NFTA_CT_KEY, NFT_CT_LABELS);
                    ct.number(NFTA_CT_SREG, NFT_REG_1);
                });
            }
            Expression::Count(counter) => self.push("objref", |objref| {
                objref.number(NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
                objref.text(NFTA_OBJREF_IMM_NAME, counter);
            }),
            Expression::Offload(flowtable) => {
                self.push("flow_offload", |flow| flow.text(NFTA_FLOW_TABLE_NAME, flowtable));
            }
            Expression::Tproxy(socket) => self.tproxy(*socket),
            Expression::Drop => self.verdict(NF_DROP, None),
            Expression::Accept => self.verdict(NF_ACCEPT, None),
            Expression::Trace => {
                self.immediate(NFT_REG_1, &[1]);
                self.push("meta", |meta| {
                    meta.number(NFTA_META_KEY, NFT_META_NFTRACE);
                    meta.number(NFTA_META_SREG, NFT_REG_1);
                });
            }
            Expression::Reset => {
                self.require_protocol(Protocol::Tcp);
                self.reject(NFT_REJECT_TCP_RST, 0);
            }
            Expression::Unreachable => {
                self.reject(NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_PORT_UNREACH);
            }
            Expression::Return => self.verdict(NFT_RETURN, None),
            Expression::Jump(chain) => self.verdict(NFT_JUMP, Some(chain)),
            Expression::Goto(chain) => self.verdict(NFT_GOTO, Some(chain)),
        }
    }

    fn port(&mut self, protocol: Protocol, offset: u32, is: Is, port: u16) {
        self.require_protocol(protocol);
        self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2);
        self.compare(operation(is), &port.to_be_bytes());
    }

    /// A prefix of whole bytes needs no mask.
    fn destination_in(&mut self, is: Is, prefix: IpNet) {
        let family = Family::of(prefix.addr());
        let octets = octets(prefix.network());
        let bits = usize::from(prefix.prefix_len());
        let whole = if bits.is_multiple_of(8) { bits / 8 } else { octets.len() };
        self.address(family, DESTINATION, whole);
        if whole * 8 != bits {
            self.mask(&self::octets(prefix.netmask()));
        }
        self.compare(operation(is), &octets[..whole]);
    }

    /// Loads the first bytes of the source or the destination.
    fn address(&mut self, family: Family, [v4, v6]: [u32; 2], width: usize) {
        self.require_family(family);
        let offset = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        // At most 16.
        let width = u32::try_from(width).unwrap_or(u32::MAX);
        self.payload(NFT_PAYLOAD_NETWORK_HEADER, offset, width);
    }

    fn address_type(&mut self, whose: u32, is: Is, address_type: AddressType) {
        self.push("fib", |fib| {
            fib.number(NFTA_FIB_DREG, NFT_REG_1);
            fib.number(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
            fib.number(NFTA_FIB_FLAGS, whose);
        });
        self.compare(operation(is), &(address_type as u32).to_ne_bytes());
    }

    /// Loads address and port, address and port, one behind the other; each begins at a multiple
    /// of four bytes.
    fn flow(&mut self, family: Family, way: Way) {
        self.require_family(family);
        self.require_protocol(Protocol::Udp);
        let own = |[v4, v6]: [u32; 2]| if family == Family::V4 { v4 } else { v6 };
        let ends = [(own(SOURCE), SOURCE_PORT), (own(DESTINATION), DESTINATION_PORT)];
        let [from, to] = if way == Way::Same { ends } else { [ends[1], ends[0]] };
        let width = own([4, 16]);
        let mut place = 0;
        for (address, port) in [from, to] {
            self.load(NFT_PAYLOAD_NETWORK_HEADER, address, width, register(place));
            place += width / 4;
            self.load(NFT_PAYLOAD_TRANSPORT_HEADER, port, 2, register(place));
            place += 1;
        }
    }

    fn set_mark(&mut self, mark: Fwmark) {
        self.meta(NFT_META_MARK);
        self.bits(&(!mark.mask()).to_ne_bytes(), &mark.value().to_ne_bytes());
        self.push("meta", |meta| {
            meta.number(NFTA_META_KEY, NFT_META_MARK);
            meta.number(NFTA_META_SREG, NFT_REG_1);
        });
    }

    fn tproxy(&mut self, socket: SocketAddr) {
        let family = Family::of(socket.ip());
        self.require_protocol(Protocol::Udp);
        self.immediate(NFT_REG_1, &octets(socket.ip()));
        self.immediate(NFT_REG_2, &socket.port().to_be_bytes());
        self.push("tproxy", |tproxy| {
            tproxy.number(NFTA_TPROXY_FAMILY, nfproto(family).into());
            tproxy.number(NFTA_TPROXY_REG_ADDR, NFT_REG_1);
            tproxy.number(NFTA_TPROXY_REG_PORT, NFT_REG_2);
        });
    }
}

/// The register that begins so many times four bytes behind the first. One that is aligned has the
/// name of the large one.
fn register(place: u32) -> u32 {
    if place.is_multiple_of(4) { NFT_REG_1 + place / 4 } else { NFT_REG32_00 + place }
}

fn width(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

fn operation(is: Is) -> u32 {
    match is {
        Is::In => NFT_CMP_EQ,
        Is::NotIn => NFT_CMP_NEQ,
    }
}
