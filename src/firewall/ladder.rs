//! The ladder of destinations: the one order in which both backends judge a destination, for
//! redirects and for rejects, so that the two cannot disagree. DNS is looked at before it. From
//! `Block` on it is the order of [`crate::route`], which does not know the proxies' servers.

use super::sets::Set;

/// Where a packet goes.
#[derive(Clone, Copy, Debug)]
pub(in crate::firewall) enum Destination {
    /// This machine; in IPv4 broadcast, too.
    Local,
    /// A rung of its own: for IPv6 the kernel wants all the types of a list at once, so that
    /// `LOCAL,MULTICAST` never matches (match_type6 in net/netfilter/xt_addrtype.c; seen: ::1 was
    /// captured).
    Multicast,
    In(Set),
    Anywhere,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum Verdict {
    Pass,
    Block,
    Foreign,
}

/// The first rung that holds decides.
///
/// `Reserved` stands behind the operator's rules: a prefix that somebody wrote down by hand, say
/// `rules.proxy = ["10.8.0.0/16"]`, beats a list made for everybody. What must never be captured,
/// this machine and its links, stands before them.
pub(in crate::firewall) const LADDER: [(Destination, Verdict); 13] = [
    (Destination::Local, Verdict::Pass),
    (Destination::Multicast, Verdict::Pass),
    (Destination::In(Set::Connected), Verdict::Pass),
    (Destination::In(Set::Block), Verdict::Block),
    (Destination::In(Set::Proxy), Verdict::Foreign),
    (Destination::In(Set::Direct), Verdict::Pass),
    (Destination::In(Set::Servers), Verdict::Pass),
    (Destination::In(Set::LearnedBlock), Verdict::Block),
    (Destination::In(Set::LearnedProxy), Verdict::Foreign),
    (Destination::In(Set::LearnedDirect), Verdict::Pass),
    (Destination::In(Set::Reserved), Verdict::Pass),
    (Destination::In(Set::China), Verdict::Pass),
    (Destination::Anywhere, Verdict::Foreign),
];

/// Name servers of this prefix cannot be captured by a redirect: the query arrives, but its source
/// is a link-local address too, and over loopback there is no way back to it (seen: ENETUNREACH).
/// A translation to the interface's own link-local address works, and needs a listener there: with
/// `listen.address = "::"`, as in router mode, that is done. Elsewhere they are refused at once, so
/// that the client asks its next name server and nobody gets a forged answer. Who wants to ask them
/// nevertheless names them in `rules.direct`.
pub(in crate::firewall) const LINK_LOCAL: &str = "fe80::/10";
