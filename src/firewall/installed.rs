//! The rules while they are installed, whichever backend installed them.

use super::direct::DirectCounts;
use super::error::Error;
use super::flow::Flow;
use super::look_up::KernelAnswer;
use super::ruleset::Ruleset;
use super::switch::Switches;
use crate::family::Family;
use crate::route::Route;
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

/// The installed rules. Their drop removes them.
pub trait Installed: Debug + Send + Sync {
    /// Adds addresses of proxy servers to those that are never captured.
    fn exempt(&self, servers: Vec<IpAddr>);

    /// These UDP flows began before anything was captured, and go on as they are, until there was
    /// no datagram of theirs for three minutes. To be called before the first [`beat`](Self::beat).
    fn exempt_flows(&self, _flows: &[Flow]) {}

    /// For `ttl`, connections to this address take this route. What was learned of it before is
    /// forgotten. The operator's rules by address are stronger, as in [`crate::route`].
    fn learn(&self, address: IpAddr, route: Route, ttl: Duration);

    /// Other rules instead, for the same ports, without a moment in which foreign traffic leaves
    /// directly or domestic traffic is captured. What was learned, and the switches, go on.
    ///
    /// # Errors
    /// What the tools or the kernel say; then the old rules are in force.
    fn replace(&self, new: Ruleset) -> Result<(), Error>;

    /// Forgets all that was learned, in the kernel.
    fn forget(&self);

    /// Whether what was learned has to be told again, since the sets were emptied or made anew.
    /// Says so once.
    fn forgot(&self) -> bool;

    /// Sets the switches for another [`RULE_LIFETIME`](super::RULE_LIFETIME). To be called, every
    /// two seconds, by one who knows that connections and queries are really captured and served.
    /// After [`release`](Self::release) it does nothing.
    ///
    /// # Errors
    /// The rules are gone, or the kernel does not let us.
    fn beat(&self, switches: Switches) -> Result<(), Error>;

    /// What the kernel sent directly, as its counters say now; they may begin anew at any time.
    /// `None`: it is not counted. May start a tool.
    ///
    /// # Errors
    /// The counters cannot be read at this moment.
    fn direct(&self) -> Option<Result<DirectCounts, Error>> {
        None
    }

    /// What the kernel makes of a TCP connection to this address, by its sets as they are now.
    ///
    /// # Errors
    /// What the kernel says.
    fn look_up(&self, address: IpAddr) -> Result<KernelAnswer, Error>;

    /// Calls `listener` each time other programs have changed rules and ours were checked. The
    /// first listener stays.
    fn on_change(&self, listener: Box<dyn Fn() + Send + Sync>);

    /// Whether rules of this family are installed and redirect what is captured.
    fn captures(&self, family: Family) -> bool;

    /// Whether rules of this family are installed that capture foreign UDP of this machine, all or
    /// some of it: then the daemon can prove it.
    fn captures_datagrams(&self, family: Family) -> bool;

    /// The rules are proven and in use: from now on a failure leaves them closed, where they are so
    /// ([`OnFailure::Closed`](super::OnFailure::Closed)).
    fn commit(&self);

    /// No heartbeat will keep the rules active any more, because the daemon fails. What was
    /// captured goes on until the process ends. Returns whether they stay, because they are closed;
    /// else they are to be removed.
    fn abandon(&self) -> bool;

    /// The first half of a stop: from now on nothing that begins is captured, and what was captured
    /// goes on until the rules are removed or dropped.
    ///
    /// A machine without a stateful firewall has no other rules that need conntrack: with our last
    /// one it leaves the path of packets (nf_ct_netns_put), and with it the translation of the
    /// addresses of living connections. So the chains stay for as long as those are drained.
    ///
    /// # Errors
    /// What the tools or the kernel say.
    fn release(&self) -> Result<(), Error>;

    /// Removes the rules and sets. Connections that were captured may end here.
    ///
    /// # Errors
    /// What the tools or the kernel say; `snet cleanup` can be tried later.
    fn remove(self: Box<Self>) -> Result<(), Error>;
}
