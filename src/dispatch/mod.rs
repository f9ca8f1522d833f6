//! Decide and connect: the router, the proxies, and which of them answer.
//!
//! A [`Dispatcher`] is immutable and swapped whole on reload; a connection keeps the one it was
//! born with. The rules choose a group of proxies ([`group`]), the group an order among its
//! members, by what connections and sparse questions have told of them ([`standing`]); a member
//! that is slower than usual is overtaken by the next one ([`hedge`]), also at the first words of
//! a program, where these may be repeated ([`first_words`]). When none is left the connection is
//! refused, never sent directly.

mod asking;
mod attempt;
mod current;
mod datagrams;
mod delay;
mod delay_url;
mod error;
mod first_words;
mod group;
mod habit;
mod health;
mod hedge;
mod naming;
mod pins;
mod question;
mod refusals;
mod standing;
mod unanswered;
mod upstream;
mod waiting;
mod watch;

use crate::domain::Name;
use crate::exempt_programs::ExemptPrograms;
use crate::proxy::association::Association;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::first_payload::FirstPayload;
use crate::proxy::{Link, Progress, Proxy};
use crate::route::{Decision, GroupPlace, Learned, Reason, Route, Rules, ToldName, ToldNames};
use crate::stats::DecidedBy;
use crate::target::Target;
use attempt::Over;
pub use current::Current;
pub use delay::{DelayError, direct_delay, is_local};
pub use delay_url::DelayUrl;
pub use error::Error;
pub use first_words::FirstWords;
use group::Errand;
pub use group::{Group, GroupPolicy, GroupSettings};
use naming::MemberTarget;
pub use naming::SendNames;
pub use pins::PinError;
pub use question::MemberQuestions;
pub use upstream::Upstream;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// How long a direct dial may take; a program that dials by itself waits about two minutes, but
/// here the answer "refused" has to come before it gives up.
const DIRECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The decision and the ways out.
#[derive(Debug)]
pub struct Dispatcher {
    rules: Arc<Rules>,
    learned: Arc<Learned>,
    told: Arc<ToldNames>,
    direct: Box<dyn Proxy>,
    upstreams: Vec<Arc<Upstream>>,
    /// At least one; the first carries what no rule gives to another.
    groups: Vec<Group>,
    exempt: ExemptPrograms,
    looks: bool,
    /// First words that are kept at a time.
    kept_words: Semaphore,
}

/// A connection that stands.
#[derive(Debug)]
pub struct Connected {
    /// The bytes' way.
    pub link: Link,
    /// Through whom; `None` for direct.
    pub via: Option<Arc<Upstream>>,
    /// The connection to the proxy's server was dialled ahead: that it stands proves nothing.
    was_ready: bool,
    /// Whether it is given up when the proxy is surely dead, so that the program dials again.
    pub resets: bool,
    /// The group that the proxy was chosen from, where the operator made groups.
    pub group: Option<Arc<str>>,
    /// What decided about the target.
    pub reason: Reason,
    /// The rule or list that did.
    pub by: Option<DecidedBy>,
}

/// A way for datagrams that stands.
#[derive(Debug)]
pub struct Associated {
    /// The datagrams' way.
    pub association: Association,
    /// Through whom.
    pub via: Arc<Upstream>,
    /// The group that it was chosen from, where the operator made groups.
    pub group: Option<Arc<str>>,
    /// What decided about the first destination.
    pub reason: Reason,
    /// Whether it ends when the proxy is surely dead, so that the next datagram finds another one.
    pub resets: bool,
}

impl Connected {
    fn new(link: Link, via: Option<Arc<Upstream>>) -> Self {
        let (was_ready, resets, reason) = (false, false, Reason::Asked);
        Connected { link, via, was_ready, resets, group: None, reason, by: None }
    }
}

impl Dispatcher {
    /// Puts the parts together. `upstreams` in order of preference, of which all are one group; one
    /// of a former dispatcher brings along what is known of it.
    pub fn new(
        rules: Arc<Rules>,
        learned: Arc<Learned>,
        direct: Box<dyn Proxy>,
        upstreams: Vec<Arc<Upstream>>,
    ) -> Self {
        let groups = vec![Group::new(GroupSettings::default(), upstreams.clone())];
        let (told, exempt) = (Arc::default(), ExemptPrograms::default());
        let kept_words = Semaphore::new(first_words::MOST_KEPT);
        let looks = true;
        Dispatcher { rules, learned, told, direct, upstreams, groups, exempt, looks, kept_words }
    }

    /// The same with these groups, in the order that the rules know.
    #[must_use]
    pub fn grouped(self, groups: Vec<Group>) -> Self {
        if groups.is_empty() { self } else { Dispatcher { groups, ..self } }
    }

    /// The same, where the programs of this machine that shall not be captured are known.
    #[must_use]
    pub fn exempting(self, exempt: ExemptPrograms) -> Self {
        Dispatcher { exempt, ..self }
    }

    /// The same, knowing what clients were told before.
    #[must_use]
    pub fn remembering(self, told: Arc<ToldNames>) -> Self {
        Dispatcher { told, ..self }
    }

    /// The same, where the first bytes of connections and flows are looked at for a name, or not.
    #[must_use]
    pub fn looking(self, looks: bool) -> Self {
        Dispatcher { looks, ..self }
    }

    /// Whether they are.
    pub fn looks(&self) -> bool {
        self.looks
    }

    /// The programs of this machine that shall not be captured.
    pub fn exempt(&self) -> &ExemptPrograms {
        &self.exempt
    }

    /// Where a destination goes.
    pub fn route(&self, target: &Target) -> Decision {
        self.rules.route(target, &self.learned, Instant::now().into_std())
    }

    /// The proxies, in the operator's order.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Another one serves from now on. Proxies that it has not are gone.
    pub fn is_succeeded_by(&self, next: &Dispatcher) {
        let stays = |it: &&Arc<Upstream>| next.upstreams.iter().any(|other| Arc::ptr_eq(it, other));
        self.upstreams.iter().filter(|it| !stays(it)).for_each(|gone| gone.goes());
    }

    /// The groups, in the order that the rules know.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Where a destination goes that its client calls so, if it says a name. The caller asks for
    /// that only where the resolver has told the client no name for this address.
    pub fn route_claimed(&self, target: &Target, claimed: Option<&Name>) -> Decision {
        let now = Instant::now().into_std();
        match claimed {
            // Who asks a name server for a name by the server's own means its address.
            Some(name) if !naming::is_of_a_name_server(target) => {
                self.rules.route_claimed(target, name, &self.learned, now)
            }
            _ => self.rules.route(target, &self.learned, now),
        }
    }

    /// Whether this name makes another way of it than the address alone.
    pub fn is_turned_by(&self, target: &Target, claimed: &Name) -> bool {
        let [by_address, by_name] =
            [None, Some(claimed)].map(|claimed| self.route_claimed(target, claimed));
        (by_address.route, by_address.group) != (by_name.route, by_name.group)
    }

    /// Where the servers of the proxies are, each address with the proxy's name.
    pub fn servers(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.upstreams.iter().flat_map(|upstream| {
            let endpoint = upstream.proxy.endpoint();
            let addresses = endpoint.map(Endpoint::addresses).unwrap_or_default();
            addresses.into_iter().map(|address| (upstream.name(), address))
        })
    }

    /// What the resolver learned.
    pub fn learned(&self) -> &Arc<Learned> {
        &self.learned
    }

    /// What the resolver told its clients.
    pub fn told(&self) -> &Arc<ToldNames> {
        &self.told
    }

    /// The network is another one: every proxy is asked again at once, over new connections.
    pub fn wake(&self) {
        self.upstreams.iter().for_each(|upstream| upstream.forget());
    }

    /// What decides about a UDP session that was captured. There is no direct way here for it: a
    /// name may choose a group only.
    pub fn route_datagrams(&self, first: SocketAddr, claimed: Option<&Name>) -> Decision {
        let target = Target::addr(first);
        let by_name = self.route_claimed(&target, claimed);
        if by_name.route == Route::Proxy { by_name } else { self.route(&target) }
    }

    /// Makes a way for the datagrams of one client socket, through the first proxy of the group
    /// that carries UDP and is not known to be down for it; if all are, through the first that can
    /// be asked. `first`: where it wants to go first, which decides on the group, and `claimed`:
    /// how the client calls that.
    ///
    /// # Errors
    /// No proxy carries UDP, or none could be asked.
    pub async fn associate(
        &self,
        first: SocketAddr,
        claimed: Option<&Name>,
        client: Option<IpAddr>,
    ) -> Result<Associated, Error> {
        let now = Instant::now();
        let target = Target::addr(first);
        let decision = self.route_datagrams(first, claimed);
        let group = self.group(decision.group);
        let carrying = group.carrying(Errand { client, target: &target });
        let (resting, healthy): (Vec<_>, Vec<_>) =
            carrying.into_iter().partition(|upstream| upstream.is_avoided_for_datagrams(now));
        let resets = group.resets() && resting.len() + healthy.len() > 1;
        let mut causes = Vec::new();
        for upstream in healthy.into_iter().chain(resting) {
            let cause = match timeout(upstream.timeout, upstream.proxy.associate()).await {
                Ok(Ok(association)) => {
                    let (via, group) = (Arc::clone(&upstream), group.label());
                    let reason = decision.reason;
                    return Ok(Associated { association, via, group, reason, resets });
                }
                Ok(Err(error)) => {
                    let cause = error.to_string();
                    // A shortage of ours says nothing of the proxy.
                    if !error.is_shortage() {
                        upstream.datagrams_failed(&cause);
                    }
                    cause
                }
                Err(_) => {
                    let cause = format!("no answer within {:?}", upstream.timeout);
                    upstream.datagrams_failed(&cause);
                    cause
                }
            };
            causes.push(format!("{}: {}", upstream.name(), upstream.nameless(&cause)));
        }
        if causes.is_empty() {
            return Err(Error::NoDatagrams);
        }
        Err(Error::AllProxiesFailed(causes))
    }

    /// Whether a proxy carries UDP that is not known to be down for it.
    pub fn carries_datagrams_now(&self) -> bool {
        let now = Instant::now();
        let mut carrying = self.upstreams.iter().filter(|it| it.proxy.carries_datagrams());
        carrying.any(|upstream| !upstream.datagrams.is_resting(now))
    }

    /// The upstream of this name.
    pub fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.iter().find(|upstream| upstream.name() == name)
    }

    /// Decides and dials for a connection of this client, which found the target by the name
    /// `told`, if that is known: this name decides on no route. `claimed`: the one that the client
    /// itself says, which a rule may know; no proxy hears it. Some of
    /// `payload` may be on its way when the connection stands.
    ///
    /// # Errors
    /// Blocked, or every way failed.
    pub async fn connect(
        &self,
        target: &Target,
        claimed: Option<&Name>,
        client: IpAddr,
        told: Option<&ToldName>,
        payload: Option<&FirstPayload<'_>>,
    ) -> Result<Connected, Error> {
        let decision = self.route_claimed(target, claimed);
        let connected = match decision.route {
            Route::Block => return Err(Error::Blocked),
            Route::Direct => self.connect_direct(target).await?,
            Route::Proxy => {
                let errand = Errand { client: Some(client), target };
                self.connect_through(self.group(decision.group), errand, told, payload).await?
            }
        };
        Ok(Connected { reason: decision.reason, by: decision.by, ..connected })
    }

    /// Dials without a proxy, whatever the router thinks of the target.
    ///
    /// # Errors
    /// The dial failed or took too long.
    pub async fn connect_direct(&self, target: &Target) -> Result<Connected, Error> {
        connect_direct(&*self.direct, target).await
    }

    /// Dials through the target's group of proxies, whatever else the router thinks of it.
    ///
    /// # Errors
    /// Every proxy of the group failed or is down.
    pub async fn connect_proxied(&self, target: &Target) -> Result<Connected, Error> {
        let errand = Errand { client: None, target };
        self.connect_through(self.group(self.route(target).group), errand, None, None).await
    }

    async fn connect_through(
        &self,
        group: &Group,
        errand: Errand<'_>,
        told: Option<&ToldName>,
        payload: Option<&FirstPayload<'_>>,
    ) -> Result<Connected, Error> {
        let (candidates, was_idle) = group.candidates(errand, Instant::now());
        if was_idle && let Some(first) = candidates.first() {
            // Those that are down are asked sooner from now on.
            first.news.notify_one();
        }
        let reset = group.resets();
        let target = MemberTarget::new(errand.target, told);
        let connected = hedge::connect(candidates, &target, Over::Any, payload).await?;
        Ok(Connected { resets: reset, group: group.label(), ..connected })
    }

    fn group(&self, place: GroupPlace) -> &Group {
        self.groups.get(place.0).unwrap_or(&self.groups[0])
    }
}

/// Dials this way, which is no proxy's.
///
/// # Errors
/// The dial failed or took too long.
pub async fn connect_direct(direct: &dyn Proxy, target: &Target) -> Result<Connected, Error> {
    match timeout(DIRECT_TIMEOUT, direct.connect(target, &Progress::default())).await {
        Ok(Ok(link)) => Ok(Connected::new(link, None)),
        Ok(Err(error)) => Err(Error::Direct(error)),
        Err(_) => Err(Error::DirectTimeout { target: target.to_string(), after: DIRECT_TIMEOUT }),
    }
}

#[cfg(test)]
mod tests;
