//! Sets of IP addresses: the China list and the operator's prefixes.
//!
//! A set is sorted, disjoint, non-adjacent ranges. Large IPv4 sets carry an index by the upper
//! sixteen bits, so that a lookup touches one index slot and, rarely, a few ranges. Sets are
//! immutable: a reload builds new ones.

mod list;
mod origin;
mod reserved;

pub use list::ListProblem;
pub use origin::{china_day, china_source, is_embedded_china};
pub use reserved::reserved;

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

/// Below so many ranges a binary search is as fast as the index, which takes 128 KiB.
const INDEX_FROM: usize = 64;

/// An immutable set of IPv4 and IPv6 addresses.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IpSet {
    v4: Box<[Range<u32>]>,
    v6: Box<[Range<u128>]>,
    /// Derived from `v4`: the number of ranges that end before each /16 begins.
    index: Option<Box<[u16]>>,
}

/// First and last address, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range<T> {
    first: T,
    last: T,
}

static CHINA: LazyLock<Arc<IpSet>> = LazyLock::new(|| Arc::new(origin::unpacked().collect()));

/// The embedded China list; `src/data` says where it comes from.
pub fn china() -> Arc<IpSet> {
    Arc::clone(&CHINA)
}

impl IpSet {
    /// Whether the address is in the set. An IPv4-mapped address is looked up as IPv4.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.contains_v4(v4),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => self.contains_v4(v4),
                None => covers(&self.v6, u128::from(v6)),
            },
        }
    }

    /// Whether the set holds no address at all.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The fewest IPv4 prefixes that cover the set, in ascending order.
    pub fn prefixes_v4(&self) -> impl Iterator<Item = Ipv4Net> + '_ {
        self.v4.iter().flat_map(|range| {
            Ipv4Subnets::new(Ipv4Addr::from(range.first), Ipv4Addr::from(range.last), 0)
        })
    }

    /// The fewest IPv6 prefixes that cover the set, in ascending order.
    pub fn prefixes_v6(&self) -> impl Iterator<Item = Ipv6Net> + '_ {
        self.v6.iter().flat_map(|range| {
            Ipv6Subnets::new(Ipv6Addr::from(range.first), Ipv6Addr::from(range.last), 0)
        })
    }

    /// The number of IPv4 addresses.
    pub fn count_v4(&self) -> u64 {
        self.v4.iter().map(|range| u64::from(range.last - range.first) + 1).sum()
    }

    /// The number of IPv6 networks of 64 bits that lie wholly or partly in the set.
    pub fn count_v6_networks(&self) -> u64 {
        let networks = |range: &Range<u128>| (range.last >> 64) - (range.first >> 64) + 1;
        self.v6.iter().fold(0u64, |sum, range| {
            sum.saturating_add(u64::try_from(networks(range)).unwrap_or(u64::MAX))
        })
    }

    /// What both sets hold together.
    pub fn union(&self, other: &IpSet) -> IpSet {
        IpSet::from_ranges(
            self.v4.iter().chain(&other.v4).copied().collect(),
            self.v6.iter().chain(&other.v6).copied().collect(),
        )
    }

    #[inline]
    fn contains_v4(&self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        let Some(index) = &self.index else { return covers(&self.v4, address) };
        let slot = (address >> 16) as usize;
        let (from, to) = (usize::from(index[slot]), usize::from(index[slot + 1]));
        // Ranges from..to end within this /16; range `to` may reach into it from the left side or
        // begin in it and end beyond.
        let to = (to + 1).min(self.v4.len());
        covers(&self.v4[from..to], address)
    }

    fn from_ranges(v4: Vec<Range<u32>>, v6: Vec<Range<u128>>) -> Self {
        let v4 = merge(v4, |last| last.checked_add(1));
        let index = (INDEX_FROM..usize::from(u16::MAX)).contains(&v4.len()).then(|| index(&v4));
        IpSet { v4, v6: merge(v6, |last| last.checked_add(1)), index }
    }
}

impl FromIterator<IpNet> for IpSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push(Range {
                    first: u32::from(net.network()),
                    last: u32::from(net.broadcast()),
                }),
                IpNet::V6(net) => v6.push(Range {
                    first: u128::from(net.network()),
                    last: u128::from(net.broadcast()),
                }),
            }
        }
        IpSet::from_ranges(v4, v6)
    }
}

impl FromIterator<IpAddr> for IpSet {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        addresses.into_iter().map(IpNet::from).collect()
    }
}

/// Counts, not seven thousand prefixes.
impl fmt::Debug for IpSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IpSet({} IPv4 ranges, {} IPv6 ranges)", self.v4.len(), self.v6.len())
    }
}

fn covers<T: Ord + Copy>(ranges: &[Range<T>], address: T) -> bool {
    let next = ranges.partition_point(|range| range.last < address);
    ranges.get(next).is_some_and(|range| range.first <= address)
}

/// Sorts, and joins what overlaps or touches.
fn merge<T: Ord + Copy>(
    mut ranges: Vec<Range<T>>,
    successor: impl Fn(T) -> Option<T>,
) -> Box<[Range<T>]> {
    ranges.sort_unstable();
    let mut merged: Vec<Range<T>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(former) if successor(former.last).is_none_or(|next| range.first <= next) => {
                former.last = former.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    merged.into_boxed_slice()
}

/// For each /16 the number of ranges that end before it; one slot more for the end.
fn index(ranges: &[Range<u32>]) -> Box<[u16]> {
    let before = |slot: u32| {
        let begin = u64::from(slot) << 16;
        ranges.partition_point(|range| u64::from(range.last) < begin)
    };
    // The caller makes sure that the number of ranges fits.
    (0..=0x1_0000).map(|slot| u16::try_from(before(slot)).unwrap_or(u16::MAX)).collect()
}

#[cfg(test)]
mod tests;
