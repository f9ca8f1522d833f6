//! The kernel's numbers of what rules are made of.
//!
//! Source: linux/netfilter/nf_tables.h unless another header is named.

// enum nft_rule_attributes
pub(super) const NFTA_RULE_TABLE: u16 = 1;
pub(super) const NFTA_RULE_CHAIN: u16 = 2;
pub(super) const NFTA_RULE_EXPRESSIONS: u16 = 4;

// enum nft_expr_attributes, nft_data_attributes, nft_verdict_attributes
pub(super) const NFTA_EXPR_NAME: u16 = 1;
pub(super) const NFTA_EXPR_DATA: u16 = 2;
pub(super) const NFTA_DATA_VALUE: u16 = 1;
pub(super) const NFTA_DATA_VERDICT: u16 = 2;
pub(super) const NFTA_VERDICT_CODE: u16 = 1;
pub(super) const NFTA_VERDICT_CHAIN: u16 = 2;

// enum nft_registers
pub(super) const NFT_REG_VERDICT: u32 = 0;
pub(super) const NFT_REG_1: u32 = 1;
pub(super) const NFT_REG_2: u32 = 2;
/// The same in pieces of four bytes: four of them are one of the others.
pub(super) const NFT_REG32_00: u32 = 8;

// enum nft_verdicts, netfilter.h
pub(super) const NF_DROP: i32 = 0;
pub(super) const NF_ACCEPT: i32 = 1;
pub(super) const NFT_JUMP: i32 = -3;
pub(super) const NFT_GOTO: i32 = -4;
pub(super) const NFT_RETURN: i32 = -5;

// enum nft_meta_keys
pub(super) const NFT_META_MARK: u32 = 3;
pub(super) const NFT_META_NFTRACE: u32 = 12;
pub(super) const NFT_META_IIF: u32 = 4;
pub(super) const NFT_META_OIF: u32 = 5;
pub(super) const NFT_META_IIFNAME: u32 = 6;
pub(super) const NFT_META_OIFNAME: u32 = 7;
pub(super) const NFT_META_SKUID: u32 = 10;
pub(super) const NFT_META_NFPROTO: u32 = 15;
pub(super) const NFT_META_L4PROTO: u32 = 16;

// enum nft_ct_keys; NF_CT_STATE_BIT(IP_CT_NEW), IP_CT_DIR_ORIGINAL
pub(super) const NFT_CT_STATE: u32 = 0;
pub(super) const NFT_CT_DIRECTION: u32 = 1;
pub(super) const NFT_CT_STATUS: u32 = 2;
/// enum ip_conntrack_status.
pub(super) const IPS_DST_NAT: u32 = 0x20;
pub(super) const IPS_ASSURED: u32 = 4;
pub(super) const NFT_CT_LABELS: u32 = 13;
pub(super) const NFT_CT_ZONE: u32 = 17;
pub(super) const STATE_INVALID: u32 = 1;
pub(super) const STATE_ESTABLISHED: u32 = 2;
pub(super) const STATE_NEW: u32 = 8;
pub(super) const STATE_UNTRACKED: u32 = 0x40;

// Type and code: linux/icmp.h, linux/icmpv6.h.
pub(super) const IPPROTO_ICMP: u8 = 1;
pub(super) const ICMP_PORT_UNREACHABLE: [u8; 2] = [3, 3];
pub(super) const ICMP_UNREACHABLE: u8 = 3;
pub(super) const IPPROTO_ICMPV6: u8 = 58;
pub(super) const ICMPV6_PORT_UNREACHABLE: [u8; 2] = [1, 4];
pub(super) const ICMPV6_UNREACHABLE: u8 = 1;
pub(super) const ORIGINAL: u8 = 0;

/// enum nft_socket_keys; since Linux 5.13.
pub(super) const NFT_SOCKET_CGROUPV2: u32 = 3;

// enum nft_cmp_ops, nft_payload_bases, nft_lookup_flags
pub(super) const NFT_CMP_EQ: u32 = 0;
pub(super) const NFT_CMP_NEQ: u32 = 1;
pub(super) const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
pub(super) const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
pub(super) const NFT_LOOKUP_F_INV: u32 = 1;

// enum nft_nat_types, linux/netfilter/nf_nat.h
pub(super) const NFT_NAT_DNAT: u32 = 1;
pub(super) const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;

// enum nft_reject_types, nft_reject_inet_code
pub(super) const NFT_REJECT_TCP_RST: u32 = 1;
pub(super) const NFT_REJECT_ICMPX_UNREACH: u32 = 2;
pub(super) const NFT_REJECT_ICMPX_PORT_UNREACH: u32 = 1;

// enum nft_fib_result, nft_fib_flags
pub(super) const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
pub(super) const NFTA_FIB_F_SADDR: u32 = 1;
pub(super) const NFTA_FIB_F_DADDR: u32 = 2;

/// enum nft_dynset_ops
pub(super) const NFT_DYNSET_OP_UPDATE: u32 = 1;

/// The loopback interface has this index in every network namespace (linux/net.h:
/// LOOPBACK_IFINDEX).
pub(super) const LOOPBACK: u32 = 1;

// Where fields are: struct tcphdr, udphdr, iphdr, ipv6hdr.
/// In IPv4 and in IPv6.
pub(super) const SOURCE: [u32; 2] = [12, 8];
pub(super) const DESTINATION: [u32; 2] = [16, 24];
pub(super) const SOURCE_PORT: u32 = 0;
pub(super) const DESTINATION_PORT: u32 = 2;
pub(super) const TCP_FLAGS: u32 = 13;
pub(super) const FIN_SYN_RST_ACK: u8 = 0x17;
pub(super) const SYN: u8 = 0x02;

// The attributes of each kind of instruction.
pub(super) const NFTA_META_DREG: u16 = 1;
pub(super) const NFTA_META_KEY: u16 = 2;
pub(super) const NFTA_META_SREG: u16 = 3;
pub(super) const NFTA_CT_DREG: u16 = 1;
pub(super) const NFTA_CT_KEY: u16 = 2;
pub(super) const NFTA_CT_SREG: u16 = 4;
pub(super) const NFTA_PAYLOAD_DREG: u16 = 1;
pub(super) const NFTA_PAYLOAD_BASE: u16 = 2;
pub(super) const NFTA_PAYLOAD_OFFSET: u16 = 3;
pub(super) const NFTA_PAYLOAD_LEN: u16 = 4;
pub(super) const NFTA_BITWISE_SREG: u16 = 1;
pub(super) const NFTA_BITWISE_DREG: u16 = 2;
pub(super) const NFTA_BITWISE_LEN: u16 = 3;
pub(super) const NFTA_BITWISE_MASK: u16 = 4;
pub(super) const NFTA_BITWISE_XOR: u16 = 5;
pub(super) const NFTA_CMP_SREG: u16 = 1;
pub(super) const NFTA_CMP_OP: u16 = 2;
pub(super) const NFTA_CMP_DATA: u16 = 3;
pub(super) const NFTA_LOOKUP_SET: u16 = 1;
pub(super) const NFTA_LOOKUP_SREG: u16 = 2;
pub(super) const NFTA_LOOKUP_FLAGS: u16 = 5;
pub(super) const NFTA_IMMEDIATE_DREG: u16 = 1;
pub(super) const NFTA_IMMEDIATE_DATA: u16 = 2;
pub(super) const NFTA_SOCKET_KEY: u16 = 1;
pub(super) const NFTA_SOCKET_DREG: u16 = 2;
pub(super) const NFTA_SOCKET_LEVEL: u16 = 3;
pub(super) const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;
pub(super) const NFTA_NAT_TYPE: u16 = 1;
pub(super) const NFTA_NAT_FAMILY: u16 = 2;
pub(super) const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
pub(super) const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
pub(super) const NFTA_NAT_FLAGS: u16 = 7;
pub(super) const NFTA_REJECT_TYPE: u16 = 1;
pub(super) const NFTA_REJECT_ICMP_CODE: u16 = 2;
pub(super) const NFTA_FLOW_TABLE_NAME: u16 = 1;
pub(super) const NFTA_OBJREF_IMM_TYPE: u16 = 1;
pub(super) const NFTA_OBJREF_IMM_NAME: u16 = 2;
pub(super) const NFTA_FIB_DREG: u16 = 1;
pub(super) const NFTA_FIB_RESULT: u16 = 2;
pub(super) const NFTA_FIB_FLAGS: u16 = 3;
pub(super) const NFTA_DYNSET_SET_NAME: u16 = 1;
pub(super) const NFTA_DYNSET_OP: u16 = 3;
pub(super) const NFTA_DYNSET_SREG_KEY: u16 = 4;
pub(super) const NFTA_TPROXY_FAMILY: u16 = 1;
pub(super) const NFTA_TPROXY_REG_ADDR: u16 = 2;
pub(super) const NFTA_TPROXY_REG_PORT: u16 = 3;

// enum nft_object_attributes, nft_counter_attributes; NFT_OBJECT_COUNTER
pub(super) const NFTA_OBJ_TABLE: u16 = 1;
pub(super) const NFTA_OBJ_NAME: u16 = 2;
pub(super) const NFTA_OBJ_TYPE: u16 = 3;
pub(super) const NFTA_OBJ_DATA: u16 = 4;
pub(super) const NFTA_COUNTER_BYTES: u16 = 1;
pub(super) const NFT_OBJECT_COUNTER: u32 = 1;
