//! What the running daemon shows of itself: plain data, written as JSON by the daemon and read by
//! whoever looks (`snet status`, `snet top`).
//!
//! A field that is added changes nothing for readers; one is never given another meaning. Times are
//! seconds, sizes are bytes, both counted from the start unless they say otherwise.

mod amount;
mod delay;
mod device;
mod explained;
mod flowing;
mod text;
mod upkeep;

pub use amount::{Bytes, Span};
pub use delay::{DelayAsk, DelayView, TestView};
pub use device::{DeviceView, DeviceWayView};
pub use explained::{
    AddressView, CachedView, ExplainView, KernelView, NameView, RecordView, ReplyView,
};
pub use upkeep::{ListView, RefusalView, ReloadView, TrustView};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What the group of all proxies is called, where the operator made none.
pub const ALL_PROXIES: &str = "PROXY";

/// What the way without a proxy is called.
pub const DIRECT: &str = "DIRECT";

/// The whole daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// snet's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since the start.
    pub uptime: u64,
    /// Ports, addresses and scope, in words.
    pub what: String,
    /// What the rules capture; empty without rules.
    pub capture: Vec<CaptureView>,
    /// What the operator should know of while it lasts, the oldest first.
    #[serde(default)]
    pub warnings: Vec<WarningView>,
    /// Connections and UDP.
    pub traffic: TrafficView,
    /// What the kernel sent without the daemon; none: it is not counted.
    pub direct: Option<Vec<DirectView>>,
    /// What has flowed since midnight.
    #[serde(default)]
    pub today: Option<TodayView>,
    /// Answered names, by where the answers came from (`local`, `cache`, `stale`, `domestic`,
    /// `trusted`, `asked-server`, `failed`).
    pub names: BTreeMap<String, u64>,
    /// Which of the domestic answers were believed.
    #[serde(default)]
    pub trust: TrustView,
    /// In the operator's order.
    pub proxies: Vec<ProxyView>,
    /// Empty where the operator made none.
    pub groups: Vec<GroupView>,
    /// The group of all proxies, where the operator made none.
    pub all_proxies: Option<GroupView>,
    /// In the order of the file.
    pub subscriptions: Vec<SubscriptionView>,
    /// What decides, the strongest first.
    #[serde(default)]
    pub rules: Vec<RuleView>,
    /// One line each.
    pub lists: Vec<String>,
    /// The lists and the bodies of subscriptions, with their age.
    #[serde(default)]
    pub sources: Vec<ListView>,
    /// The last reloads, the latest first.
    #[serde(default)]
    pub reloads: Vec<ReloadView>,
    /// What was refused lately, the latest first.
    #[serde(default)]
    pub refusals: Vec<RefusalView>,
    /// What the process holds of the machine's memory.
    pub memory: Option<u64>,
    /// Lines of the log that were dropped, since nobody read them.
    #[serde(default)]
    pub log_lines_lost: u64,
}

/// One way of capture of one family.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaptureView {
    /// "IPv4", "IPv6 UDP" and the like.
    pub what: String,
    /// In words, with the cause where it is not captured.
    pub state: String,
    /// Whether programs are served as the operator wants.
    pub is_good: bool,
    /// How long it has been so.
    pub since: u64,
}

/// A warning that holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WarningView {
    /// What is so, and what can be done about it.
    pub text: String,
    /// The proxy that it is about.
    pub proxy: Option<String>,
    /// How long it has held.
    pub since: u64,
}

/// What has flowed through the daemon. What the kernel sends directly is not among it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficView {
    /// Connections that are open now.
    pub open: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Relayed through a proxy.
    pub proxied: u64,
    /// Relayed directly.
    pub direct: u64,
    /// Refused, by rule or since no dial succeeded.
    pub refused: u64,
    /// UDP sessions that are open now.
    pub open_sessions: u64,
    /// UDP sessions begun.
    pub sessions: u64,
    /// Datagrams dropped, for whatever reason.
    pub dropped_datagrams: u64,
    /// Bytes from programs.
    pub up: u64,
    /// Bytes to programs.
    pub down: u64,
}

/// What the kernel sent directly for one reason, in one family: bytes of packets that never came
/// into the daemon, with their headers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DirectView {
    /// `domestic`, `rule`, `name`, `private` or `foreign`.
    pub reason: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Bytes in the direction in which the connections began.
    pub up: u64,
    /// Bytes in the other one.
    pub down: u64,
}

/// Bytes since midnight, by the clock on the wall of this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TodayView {
    /// snet has started since, and this is all.
    pub since_start: bool,
    /// From programs, through a proxy.
    pub proxied_up: u64,
    /// To programs, through a proxy.
    pub proxied_down: u64,
    /// From programs, directly, by the daemon.
    pub direct_up: u64,
    /// To programs, directly, by the daemon.
    pub direct_down: u64,
    /// What the kernel sent without the daemon, as [`DirectView`] has it; none: it is not counted.
    pub kernel_up: Option<u64>,
    /// The other direction.
    pub kernel_down: Option<u64>,
}

/// A proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProxyView {
    /// `[[proxy]] name`.
    pub name: String,
    /// `type` of the `[[proxy]]`.
    pub kind: String,
    /// One of `good`, `asked`, `trial`, `doubted`, `down`.
    pub state: String,
    /// The same in words, with the cause where it is down.
    pub says: String,
    /// How long an answer took last, in milliseconds.
    pub delay_ms: Option<u64>,
    /// Connections and UDP sessions that are open now.
    pub open: u64,
    /// Connections that it carried.
    pub connections: u64,
    /// UDP sessions that it carried.
    pub sessions: u64,
    /// Bytes from programs.
    pub up: u64,
    /// Bytes to programs.
    pub down: u64,
    /// The last tests that were asked for, the oldest first.
    pub tests: Vec<TestView>,
}

/// A subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionView {
    /// `[[subscription]] name`.
    pub name: String,
    /// Whether it is fetched; otherwise it is a file.
    pub is_fetched: bool,
    /// When the provider last said that this is its body: seconds since the Unix epoch.
    pub fetched: Option<u64>,
    /// What it gives, in words.
    pub says: String,
    /// Its proxies.
    pub proxies: Vec<String>,
    /// Bytes of the contract that are used.
    pub used: Option<u64>,
    /// Bytes of the contract.
    pub total: Option<u64>,
    /// The end of the contract: seconds since the Unix epoch.
    pub expires: Option<u64>,
}

/// A group of proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupView {
    /// `[[group]] name`.
    pub name: String,
    /// `policy`.
    pub policy: String,
    /// Its members, in the operator's order.
    pub members: Vec<String>,
    /// The member that is preferred now.
    pub now: Option<String>,
    /// The member that the operator has pinned, whether or not it is used now.
    pub pinned: Option<String>,
}

/// A rule, or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleView {
    /// What it looks at: `IPCIDR`, `DomainSuffix`, `GeoIP`, `Match`.
    pub kind: String,
    /// The key of the configuration.
    pub payload: String,
    /// `DIRECT`, `REJECT`, a group, or `PROXY`.
    pub proxy: String,
    /// How many entries it has, where that is known.
    pub size: Option<u64>,
    /// How often it decided in the daemon: about a connection, a UDP session, a query of a program.
    #[serde(default)]
    pub hits: u64,
    /// How long ago it did last.
    #[serde(default)]
    pub last_hit: Option<u64>,
    /// What the kernel sent directly because of it; none: it is not counted, or never goes so.
    #[serde(default)]
    pub past: Option<RuleTrafficView>,
}

/// Bytes of packets that a rule let pass the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTrafficView {
    /// Bytes in the direction in which the connections began.
    pub up: u64,
    /// Bytes in the other one.
    pub down: u64,
}

/// A connection or a UDP session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowView {
    /// Its number.
    pub id: u64,
    /// `tcp` or `udp`.
    pub network: String,
    /// The program's address.
    pub client: SocketAddr,
    /// Where it wants to go; of a UDP session: went first.
    pub destination: SocketAddr,
    /// The name of that, if it is known.
    pub name: Option<String>,
    /// Whether it stands; otherwise it is being connected.
    pub is_open: bool,
    /// The proxy; none: directly.
    pub proxy: Option<String>,
    /// The group that the proxy was chosen from.
    pub group: Option<String>,
    /// What decided about the destination.
    pub reason: String,
    /// Since it was accepted.
    pub age: u64,
    /// Bytes from the program.
    pub up: u64,
    /// Bytes to the program.
    pub down: u64,
}
