//! Why a name or an address goes where it goes: `snet explain`.
//!
//! The answer is made of the very parts that decide: the rules, what was learned, the resolver, the
//! groups. Nothing of it is decided here a second time.

mod changes;
mod decided;

use super::build;
use super::capture_board::NO_ROUTE;
use super::devices::TrafficSources;
use super::generation::ConfigSource;
use super::seeing;
use super::shared_rules::SharedRules;
use super::subject::Subject;
use crate::config::Config;
use crate::dispatch::Dispatcher;
use crate::dns;
use crate::domain::Name;
use crate::route::{GroupPlace, Learned, Route, Rules};
use crate::task;
use crate::view::{AddressView, CaptureView, ExplainView};
use changes::changes;
use decided::{about_address, about_name, decide, destination, kernel_view};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What the file alone decides, without a daemon. Sends nothing.
pub fn explain_by_file(config: &Config, subject: &Subject) -> ExplainView {
    let rules = &*config.rules.routes;
    let mut view = ExplainView { asked: subject.to_string(), ..ExplainView::default() };
    match subject {
        Subject::Name(name) => {
            view.name = Some(about_name(rules, name));
            view.notes.push("no running snet was asked: answers and proxies are not known".into());
        }
        Subject::Address(ip, port) => {
            let decision = decide(rules, *ip, *port, &Learned::default());
            view.addresses.push(about_address(rules, *ip, decision));
            view.notes.push("no running snet was asked: what it learned is not known".into());
            view.notes.extend(port.and_then(port_note).map(str::to_owned));
        }
    }
    view
}

/// What a running daemon answers with. A value, so that its supervisor need not wait.
pub(super) struct Explaining {
    pub(super) rules: Arc<Rules>,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) orders: mpsc::UnboundedSender<dns::Order>,
    pub(super) source: Arc<dyn ConfigSource>,
    pub(super) firewall: Arc<SharedRules>,
    pub(super) traffic: Arc<TrafficSources>,
}

impl Explaining {
    pub(super) async fn explain(self, subject: Subject) -> ExplainView {
        let mut view = ExplainView { asked: subject.to_string(), ..ExplainView::default() };
        let (name, addresses, port) = match &subject {
            Subject::Name(name) => {
                let mut about = about_name(&self.rules, name);
                about.records = self.records(name).await;
                let answers = about.records.iter().flat_map(|record| record.answer.clone());
                let addresses: Vec<_> = answers.collect();
                view.name = Some(about);
                (Some(name), addresses, None)
            }
            Subject::Address(ip, port) => (None, vec![*ip], *port),
        };
        for ip in &addresses {
            view.addresses.push(about_way(&self.rules, &self.dispatcher, *ip, port));
            let servers = self.dispatcher.servers();
            let server = servers.into_iter().find(|(_, server)| server.ip() == *ip);
            if let Some((proxy, _)) = server {
                view.notes.push(format!(
                    "{ip} is a server of the proxy {proxy}: the kernel lets it pass unless a rule \
                     blocks or proxies it"
                ));
            }
        }
        self.ask_the_kernel(&mut view).await;
        self.tell_proxies(&mut view);
        tell_missing_routes(&self.traffic.capture, &mut view);
        view.notes.extend(port.and_then(port_note).map(str::to_owned));
        self.traffic.tell(&mut view, name);
        if let Subject::Address(host, _) = subject {
            let traffic = Arc::clone(&self.traffic);
            let device = task::spawn_blocking(move || traffic.device(host));
            view.device = device.await.ok().flatten();
        }
        let source = Arc::clone(&self.source);
        // A list of a hundred thousand names is not read on a thread that serves connections.
        match task::spawn_blocking(move || source.load()).await {
            Ok(Ok(next)) => {
                let next = build::possible(next);
                let (learned, next) = (self.dispatcher.learned(), &next.rules.routes);
                view.changes = changes(&self.rules, learned, next, name, &view.addresses);
            }
            Ok(Err(problems)) => view.notes.push(format!(
                "the file on disk has a mistake, so that a reload would change nothing: {problems}"
            )),
            Err(_) => {}
        }
        view
    }

    /// The kernel decides before snet does: what it does not capture never comes here.
    async fn ask_the_kernel(&self, view: &mut ExplainView) {
        let addresses = view.addresses.iter().map(|it| it.address).collect();
        match self.firewall.look_up(addresses).await {
            Some(Ok(answers)) => {
                for (address, answer) in view.addresses.iter_mut().zip(answers) {
                    address.kernel = Some(kernel_view(&answer, &address.route));
                }
            }
            Some(Err(error)) => {
                view.notes.push(format!("the kernel's sets cannot be read: {error}"))
            }
            None if view.addresses.is_empty() => {}
            None => view.notes.push("no rules are installed: nothing is captured".into()),
        }
    }

    /// How those do that carry the addresses.
    fn tell_proxies(&self, view: &mut ExplainView) {
        let names = view.addresses.iter().filter_map(|address| address.proxy.as_deref());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names.dedup();
        let upstreams = names.iter().filter_map(|name| self.dispatcher.upstream(name));
        let (config, now) = (&self.traffic.config, Instant::now());
        view.proxies = upstreams.map(|it| seeing::proxy(config, it, now)).collect();
    }

    async fn records(&self, name: &Name) -> Vec<crate::view::RecordView> {
        let (answer, answered) = oneshot::channel();
        // A resolver that died ends the daemon elsewhere.
        let _ = self.orders.send(dns::Order::Explain { name: name.clone(), answer });
        answered.await.unwrap_or_default()
    }
}

/// Where this machine has no route, its programs fail before the kernel could capture anything.
fn tell_missing_routes(capture: &[CaptureView], view: &mut ExplainView) {
    for ip in view.addresses.iter().map(|it| it.address) {
        let family = if ip.to_canonical().is_ipv4() { "IPv4" } else { "IPv6" };
        if capture.iter().any(|it| it.what == family && it.state == NO_ROUTE) {
            view.notes.push(format!(
                "this machine has no route for {family}: its own connections to {ip} fail before \
                 the kernel could capture them"
            ));
        }
    }
}

/// What is said of an address is of TCP; some ports have rules of their own.
fn port_note(port: u16) -> Option<&'static str> {
    match port {
        53 => Some("questions for names, to port 53, have rules of their own: not looked at here"),
        443 => Some("this is of TCP; foreign UDP to port 443 goes as firewall.quic says"),
        _ => None,
    }
}

/// Which way an address goes now, through whom.
fn about_way(rules: &Rules, dispatcher: &Dispatcher, ip: IpAddr, port: Option<u16>) -> AddressView {
    let decision = dispatcher.route(&destination(ip, port));
    let view = about_address(rules, ip, decision);
    if decision.route != Route::Proxy {
        return view;
    }
    let GroupPlace(place) = decision.group;
    let groups = dispatcher.groups();
    let Some(group) = groups.get(place).or_else(|| groups.first()) else { return view };
    // That of all proxies has a name for dashboards only.
    let name = Some(group.name().to_owned()).filter(|name| !name.is_empty());
    AddressView { group: name, proxy: group.view(Instant::now()).now, ..view }
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;
