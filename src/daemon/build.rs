//! From the configuration to the parts: pure construction, no socket and no rule.

use crate::config::{BackendChoice, Config, Mode, Offload, ProxyConfig, ProxyKind, Scope};
use crate::dispatch::{Dispatcher, Group, MemberQuestions, Upstream};
use crate::dns::household::Household;
use crate::family::Family;
use crate::fault::{self, Fault};
use crate::firewall::{LanPolicy, Policy, Ruleset};
use crate::inbound::token::Token;
use crate::mark::Fwmark;
use crate::net::Outbound;
use crate::plugin::{Launcher, Plugin};
use crate::proxy::Proxy;
use crate::proxy::direct::Direct;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::http::HttpConnect;
use crate::proxy::https::HttpsConnect;
use crate::proxy::server::ProxyServer;
use crate::proxy::shadowsocks::Shadowsocks;
use crate::proxy::socks5::Socks5;
use crate::proxy::warm::WORTH;
use crate::route::Rules;
use crate::target::Target;
use crate::{dns, firewall};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What is running while another configuration is taken in: its parts that did not change go on.
#[derive(Debug)]
pub(super) struct Running<'a> {
    pub(super) config: &'a Config,
    pub(super) endpoints: &'a [Arc<Endpoint>],
    pub(super) plugins: &'a [Option<Arc<Plugin>>],
    pub(super) dispatcher: &'a Dispatcher,
}

/// Without the addresses that a kernel without IPv6 (`ipv6.disable=1`) cannot listen on; `::` means
/// both families, and becomes `0.0.0.0`. If none is left, all stay, and the error names them.
pub(super) fn possible(mut config: Config) -> Config {
    if crate::net::has_ipv6() {
        return config;
    }
    let mut possible = Vec::new();
    for address in &config.listen.addresses {
        let address = match address {
            IpAddr::V6(v6) if v6.is_unspecified() => Ipv4Addr::UNSPECIFIED.into(),
            address => *address,
        };
        if address.is_ipv4() && !possible.contains(&address) {
            possible.push(address);
        }
    }
    if !possible.is_empty() {
        config.listen.addresses = possible;
    }
    config
}

/// What a UDP session holds: its socket, and where a proxy is a SOCKS5 server the connection that
/// its association depends on.
pub(super) fn descriptors_of_a_session(config: &Config) -> u64 {
    let mut carrying = config.proxies.iter().filter(|proxy| proxy.udp);
    let may_change = !config.subscriptions.is_empty();
    let by_socks = carrying.any(|proxy| matches!(proxy.kind, ProxyKind::Socks5 { .. }));
    if by_socks || may_change { 2 } else { 1 }
}

/// Where the trusted name servers answer plain queries by UDP; one that the file reaches by TLS or
/// HTTPS has the usual port for them as well.
pub(super) fn plain_trusted(config: &Config) -> Vec<SocketAddr> {
    let plain = |server: &dns::NameServer| match server.transport {
        dns::Transport::Plain | dns::Transport::Tcp => server.address,
        dns::Transport::Tls { .. } | dns::Transport::Https { .. } => {
            SocketAddr::new(server.address.ip(), dns::Transport::Plain.port())
        }
    };
    config.dns.servers.trusted.iter().map(plain).collect()
}

/// What is asked through the proxies, to see which of them answers.
pub(super) fn questions(config: &Config) -> MemberQuestions {
    let (mut name_servers, mut tls_servers) = (Vec::new(), Vec::new());
    for server in &config.dns.servers.trusted {
        let servers = match server.transport {
            dns::Transport::Plain | dns::Transport::Tcp => &mut name_servers,
            dns::Transport::Tls { .. } | dns::Transport::Https { .. } => &mut tls_servers,
        };
        servers.push(Target::addr(server.address));
    }
    let mut web_servers: Vec<_> = config.groups.iter().filter_map(|it| it.probe.clone()).collect();
    web_servers.dedup();
    MemberQuestions { name_servers, tls_servers, web_servers }
}

/// One endpoint for each `[[proxy]]`, in their order. The addresses of a server that is known
/// already are known again.
pub(super) fn endpoints(config: &Config, running: Option<&Running<'_>>) -> Vec<Arc<Endpoint>> {
    let known = |proxy: &ProxyConfig| {
        let Running { config, endpoints, .. } = running?;
        let same = |known: &&ProxyConfig| *known == proxy;
        let near = |known: &&ProxyConfig| (&known.host, known.port) == (&proxy.host, proxy.port);
        let place =
            |is: &dyn Fn(&&ProxyConfig) -> bool| config.proxies.iter().position(|known| is(&known));
        endpoints.get(place(&same).or_else(|| place(&near))?).cloned()
    };
    let endpoint = |proxy: &ProxyConfig| {
        known(proxy).unwrap_or_else(|| Arc::new(Endpoint::new(&proxy.host, proxy.port)))
    };
    config.proxies.iter().map(endpoint).collect()
}

/// One plugin for each `[[proxy]]` that has one, in their order, not started. One that has the same
/// program, options and server as before goes on.
pub(super) fn plugins(
    config: &Config,
    endpoints: &[Arc<Endpoint>],
    running: Option<&Running<'_>>,
) -> Vec<Option<Arc<Plugin>>> {
    let keys = |proxy: &ProxyConfig| (proxy.host.clone(), proxy.port, proxy.kind.plugin().cloned());
    let known = |proxy: &ProxyConfig| {
        let Running { config, plugins, .. } = running?;
        let same = |known: &ProxyConfig| known == proxy;
        let near = |known: &ProxyConfig| keys(known) == keys(proxy);
        let place = |is: &dyn Fn(&ProxyConfig) -> bool| config.proxies.iter().position(is);
        plugins.get(place(&same).or_else(|| place(&near))?).cloned().flatten()
    };
    let plugin = |(proxy, endpoint): (&ProxyConfig, &Arc<Endpoint>)| {
        let spec = proxy.kind.plugin()?.clone();
        Some(known(proxy).unwrap_or_else(|| {
            let endpoint = Arc::clone(endpoint);
            let server = Box::new(move || endpoint.addresses());
            Arc::new(Plugin::new(spec, server, Launcher::own()))
        }))
    };
    config.proxies.iter().zip(endpoints).map(plugin).collect()
}

pub(super) fn dispatcher(
    config: &Config,
    outbound: &Outbound,
    endpoints: &[Arc<Endpoint>],
    plugins: &[Option<Arc<Plugin>>],
    running: Option<&Running<'_>>,
) -> Dispatcher {
    let known = |proxy: &ProxyConfig| {
        let Running { config, dispatcher, .. } = running?;
        config.proxies.contains(proxy).then(|| dispatcher.upstream(&proxy.name).cloned())?
    };
    let places = config.proxies.iter().zip(endpoints).zip(plugins);
    let upstreams = places.map(|((proxy, endpoint), plugin)| {
        if let Some(known) = known(proxy) {
            return known;
        }
        let outbound = outbound.clone().with_options(proxy.dial_options);
        let server = ProxyServer::new(proxy.name.clone(), Arc::clone(endpoint), outbound)
            .behind(plugin.clone())
            .warm(proxy.warm.then(worth));
        let way: Box<dyn Proxy> = match &proxy.kind {
            ProxyKind::Shadowsocks { key, .. } => {
                let shadowsocks = Shadowsocks::new(server, key.clone());
                Box::new(shadowsocks.carrying_datagrams(proxy.udp))
            }
            ProxyKind::Http { credentials } => {
                Box::new(HttpConnect::new(server, credentials.clone()))
            }
            ProxyKind::Https { credentials, tls } => {
                Box::new(HttpsConnect::new(server, tls.clone(), credentials.clone()))
            }
            ProxyKind::Socks5 { credentials } => {
                Box::new(Socks5::new(server, credentials.clone(), proxy.udp))
            }
        };
        Arc::new(Upstream::new(way, proxy.connect_timeout).sending(proxy.send_names))
    });
    let upstreams: Vec<_> = upstreams.collect();
    let groups = config.groups.iter().map(|group| {
        let members = group.members(&config.proxies).into_iter();
        let members = members.map(|place| Arc::clone(&upstreams[place])).collect();
        Group::new(group.settings.clone(), members)
    });
    let groups = groups.collect();
    let rules = Arc::clone(&config.rules.routes);
    let direct = Box::new(Direct::new(outbound.clone()));
    // What names taught holds for as long as the rules for names do.
    let same_names =
        |running: &&Running<'_>| running.config.rules.routes.same_names(&config.rules.routes);
    let learned =
        running.filter(same_names).map(|running| Arc::clone(running.dispatcher.learned()));
    // So does what clients were told, unless other names are now this machine's own or a near
    // server's.
    let same_answers = |running: &&Running<'_>| {
        let (before, now) = (&running.config.dns, &config.dns);
        before.servers == now.servers && before.answers == now.answers
    };
    let told = running.filter(same_answers).map(|running| Arc::clone(running.dispatcher.told()));
    let dispatcher = Dispatcher::new(rules, learned.unwrap_or_default(), direct, upstreams)
        .grouped(groups)
        .remembering(told.unwrap_or_default())
        .exempting(config.rules.exempt_programs.clone())
        .looking(config.rules.sniff);
    if let Some(running) = running {
        dispatcher.take_over_pins(&running.dispatcher.pins());
    }
    dispatcher
}

/// From which time of a dial on others are dialled ahead.
fn worth() -> Duration {
    if fault::is(Fault::Far) { Duration::ZERO } else { WORTH }
}

/// With a token the daemon's own proof is answered.
pub(super) fn dns(config: &Config, addresses: &[IpAddr], token: Option<&Token>) -> dns::Settings {
    let dns = &config.dns;
    let port = config.listen.dns_port;
    let mut answers = dns.answers.clone();
    // It is a name: a token is one label.
    if let Some(Ok(name)) = token.map(|token| crate::dns::proof_name(token.text()).parse()) {
        answers.hosts.insert(name, Family::ALL.map(crate::probe::address).into());
    }
    dns::Settings {
        listen: addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect(),
        household: config.household.clone(),
        rules: Arc::clone(&config.rules.routes),
        no_foreign_aaaa: config.firewall.ipv6 == firewall::Ipv6::Block,
        servers: dns.servers.clone(),
        cache: dns.cache.clone(),
        privacy: dns.privacy.clone(),
        answers,
    }
}

/// What installs the rules; `None`: they are not installed.
pub(super) fn backend(config: &Config) -> Option<firewall::Backend> {
    match config.firewall.backend {
        BackendChoice::Auto => Some(firewall::Backend::of_system()),
        BackendChoice::Iptables => Some(firewall::Backend::Iptables),
        BackendChoice::Nftables => Some(firewall::Backend::Nftables),
        BackendChoice::None => None,
    }
}

/// What the kernel is told, with the network as it is now. `listening`: the addresses that are
/// really listened on.
///
/// # Errors
/// Router mode: the LAN side cannot be told.
pub(super) fn ruleset(
    config: &Config,
    listening: &[IpAddr],
    endpoints: &[Arc<Endpoint>],
) -> Result<Ruleset, firewall::Error> {
    let servers = endpoints.iter().flat_map(|endpoint| endpoint.addresses());
    let lan = (config.mode == Mode::Router).then(|| LanPolicy {
        patterns: config.firewall.interfaces.clone(),
        direct_sources: config.rules.direct_sources.clone(),
        offload: config.firewall.offload == Offload::Auto,
    });
    let rules = &config.rules.routes;
    let datagrams = config.datagrams();
    let policy = Policy {
        mark: Fwmark::SNET,
        tcp_port: config.listen.tcp_port,
        dns_port: config.listen.dns_port,
        listeners: listening.to_vec(),
        rules: for_kernel(rules),
        exempt: config.rules.exempt_programs.clone(),
        lan,
        ipv6: config.firewall.ipv6,
        quic: datagrams.quic,
        udp: datagrams.udp,
        uncapturable_udp: datagrams.uncapturable_udp,
        udp_port: config.listen.tcp_port,
        on_failure: config.firewall.on_failure,
        counts_direct: config.firewall.count_direct,
    };
    Ruleset::survey(policy, servers.map(|address| address.ip()).collect())
}

/// What the kernel is told: the rules, but for a fault.
fn for_kernel(rules: &Arc<Rules>) -> Arc<Rules> {
    let china: &[&str] = match () {
        () if fault::is(Fault::Split) => &["0.0.0.0/0", "::/0"],
        () if fault::is(Fault::Capture) => &[],
        () => return Arc::clone(rules),
    };
    let prefixes = china.iter().filter_map(|text| text.parse::<IpNet>().ok());
    Arc::new(Rules { china: Arc::new(prefixes.collect()), ..Rules::clone(rules) })
}

/// For the log line that says "ready".
pub(super) fn describe(config: &Config, listening: &[IpAddr]) -> String {
    let addresses: Vec<String> = listening.iter().map(IpAddr::to_string).collect();
    let scope = match config.scope {
        Scope::BypassChina => "domestic traffic goes direct",
        Scope::Global => "all foreign and domestic traffic goes through the proxies",
    };
    format!(
        "TCP port {} and DNS port {} on {}{}; {scope}",
        config.listen.tcp_port,
        config.listen.dns_port,
        addresses.join(", "),
        describe_household(config)
    )
}

/// The same for `--dns-only`.
pub(super) fn describe_dns(config: &Config) -> String {
    let addresses: Vec<String> = config.listen.addresses.iter().map(IpAddr::to_string).collect();
    let household = describe_household(config);
    format!("DNS port {} on {}{household}", config.listen.dns_port, addresses.join(", "))
}

fn describe_household(config: &Config) -> String {
    let Household { plain, tls, https, .. } = &config.household;
    [(plain, "names"), (tls, "names over TLS"), (https, "names over HTTPS")]
        .iter()
        .filter(|(addresses, _)| !addresses.is_empty())
        .map(|(addresses, what)| {
            let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            format!("; {what} on {}", addresses.join(", "))
        })
        .collect()
}
