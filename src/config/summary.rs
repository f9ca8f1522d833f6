//! What `snet check` prints: what the configuration means, and below it every key that differs
//! from its default. Never a secret.

use super::quantity::show_duration;
use super::{
    BackendChoice, BodyOrigin, Config, Loaded, Mode, Offload, ProxyConfig, ProxyKind, Scope,
    SubscriptionConfig,
};
use crate::dispatch::GroupPolicy;
use crate::dns::household::Household;
use crate::dns::settings::Via;
use crate::firewall::{Datagrams, Ipv6, OnFailure};
use crate::ipset::IpSet;
use crate::plugin::spec::PluginSpec;
use crate::proxy::trust::Trust;
use std::fmt::{self, Write};
use std::net::SocketAddr;

impl Loaded {
    /// Several lines for the author of the file.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.config.write(&mut text);
        for (number, list) in self.config.rules.lists.iter().enumerate() {
            let title = if number == 0 { "lists" } else { "" };
            let _ = writeln!(text, "{title:<10}{list}");
        }
        for (number, change) in self.changes.iter().enumerate() {
            let title = if number == 0 { "changed" } else { "" };
            let _ = writeln!(text, "{title:<10}{change}");
        }
        text
    }
}

impl Config {
    fn write(&self, out: &mut impl Write) -> fmt::Result {
        let mode = match self.mode {
            Mode::Local => "local: the connections of this machine",
            Mode::Router => "router: those of this machine, of LAN hosts and of containers",
        };
        writeln!(out, "mode      {mode}")?;
        let scope = match self.scope {
            Scope::BypassChina => "bypass-china: domestic addresses directly, the rest by proxy",
            Scope::Global => "global: everything by proxy",
        };
        writeln!(out, "scope     {scope}")?;
        let addresses = list(&self.listen.addresses);
        let (tcp, dns) = (self.listen.tcp_port, self.listen.dns_port);
        writeln!(out, "listen    {addresses}; TCP port {tcp}, DNS port {dns}")?;
        self.write_household(out)?;
        self.write_proxies(out)?;
        self.write_dns(out)?;
        self.write_rules(out)?;
        self.write_firewall(out)
    }

    fn write_household(&self, out: &mut impl Write) -> fmt::Result {
        let Household { plain, tls, https, clients, .. } = &self.household;
        for (addresses, way) in [(plain, "UDP and TCP"), (tls, "TLS"), (https, "HTTPS")] {
            if !addresses.is_empty() {
                writeln!(out, "          the household asks {} over {way}", list(addresses))?;
            }
        }
        if !clients.is_empty() {
            let others = count(prefixes(clients), "prefix");
            writeln!(out, "          and hosts of {others} may ask there too")?;
        }
        Ok(())
    }

    fn write_proxies(&self, out: &mut impl Write) -> fmt::Result {
        if self.proxies.is_empty() {
            writeln!(out, "proxy     none")?;
        }
        for (number, proxy) in self.proxies.iter().enumerate() {
            writeln!(out, "proxy {:<3} {}", number + 1, describe(proxy))?;
        }
        for subscription in &self.subscriptions {
            writeln!(out, "provider  {}", describe_provider(subscription))?;
        }
        self.write_groups(out)
    }

    /// One group of all is what the proxies are without a word.
    fn write_groups(&self, out: &mut impl Write) -> fmt::Result {
        for group in &self.groups {
            let settings = &group.settings;
            if settings.name.is_empty() {
                continue;
            }
            let policy = match settings.policy {
                GroupPolicy::First => "the first that answers of",
                GroupPolicy::Fastest => "the fastest of",
                GroupPolicy::Spread => "spread over",
            };
            let members = group.members(&self.proxies);
            let names: Vec<&str> =
                members.iter().map(|place| self.proxies[*place].name.as_str()).collect();
            let members = if names.is_empty() { "no proxy yet".into() } else { names.join(", ") };
            let probe = group.probe.iter().map(|probe| format!("; asks {probe} too"));
            let keeps = if settings.keeps_dead { "; keeps what lives on a dead one" } else { "" };
            let probe: String = probe.collect();
            writeln!(out, "group     {}: {policy} {members}{probe}{keeps}", settings.name)?;
        }
        Ok(())
    }

    fn write_dns(&self, out: &mut impl Write) -> fmt::Result {
        let dns = &self.dns;
        let via = match dns.servers.trusted_via {
            Via::Proxy => "through the proxy",
            Via::Direct => "directly",
        };
        writeln!(out, "dns       domestic {}", list(&dns.servers.china))?;
        writeln!(out, "          trusted {}, {via}", list(&dns.servers.trusted))?;
        let local = if dns.servers.local.is_empty() {
            "the system's name servers".into()
        } else {
            servers(&dns.servers.local)
        };
        writeln!(out, "          local names: {local}")
    }

    fn write_rules(&self, out: &mut impl Write) -> fmt::Result {
        let rules = &self.rules.routes;
        let lists = [(&rules.proxy_names, "foreign"), (&rules.blocked_names, "blocked")];
        let listed: String = lists
            .iter()
            .filter(|(list, _)| !list.is_empty())
            .map(|(list, what)| format!(", {} {what}", list.len()))
            .collect();
        writeln!(
            out,
            "rules     direct {}, proxy {}, block {}; {} by route, {} domestic{}",
            count(prefixes(&rules.direct), "prefix"),
            count(prefixes(&rules.proxy), "prefix"),
            count(prefixes(&rules.block), "prefix"),
            count(rules.names.len(), "name"),
            count(rules.china_names.len(), "name"),
            listed,
        )?;
        if !self.rules.sniff {
            writeln!(out, "          names from DNS alone: connections are not looked into")?;
        }
        let users = self.rules.exempt_programs.users.iter().map(|user| format!("user {user}"));
        let cgroups =
            self.rules.exempt_programs.cgroups.iter().map(|cgroup| format!("cgroup {cgroup}"));
        let exempt: Vec<String> = users.chain(cgroups).collect();
        if !exempt.is_empty() {
            writeln!(out, "exempt    programs of {}", exempt.join(", "))?;
        }
        if rules.china.is_empty() {
            return writeln!(out, "china     nothing");
        }
        let (v4, v6) = (rules.china.prefixes_v4().count(), rules.china.prefixes_v6().count());
        let (v4, v6) = (count(v4, "prefix"), count(v6, "prefix"));
        let addresses = addresses(rules.china.count_v4());
        writeln!(out, "china     {v4} with {addresses} (IPv4), {v6} (IPv6)")
    }

    fn write_firewall(&self, out: &mut impl Write) -> fmt::Result {
        let backend = match self.firewall.backend {
            BackendChoice::Auto => "auto",
            BackendChoice::Iptables => "iptables",
            BackendChoice::Nftables => "nftables",
            BackendChoice::None => "none: no rule is installed",
        };
        let ipv6 = match self.firewall.ipv6 {
            Ipv6::Proxy => "by proxy",
            Ipv6::Direct => "direct",
            Ipv6::Block => "blocked",
        };
        let quic = match self.datagrams().quic {
            Datagrams::Reject => "rejected",
            Datagrams::Proxy => "by proxy",
            Datagrams::Direct => "direct",
        };
        let udp = match self.datagrams().udp {
            Datagrams::Direct if self.firewall.udp.is_none() => "direct, as no proxy carries UDP",
            Datagrams::Reject => "rejected",
            Datagrams::Proxy => "by proxy",
            Datagrams::Direct => "direct",
        };
        let failure = match self.firewall.on_failure {
            OnFailure::Open => "flows directly",
            OnFailure::Closed => "is rejected",
        };
        let counted = match self.firewall.count_direct {
            true => "",
            false => "; what goes directly is not counted",
        };
        writeln!(
            out,
            "firewall  {backend}; foreign IPv6 {ipv6}, foreign QUIC {quic}, other UDP {udp}\
             {counted}"
        )?;
        writeln!(out, "failure   while no living snet captures, foreign traffic {failure}")?;
        if self.mode == Mode::Local {
            return Ok(());
        }
        let interfaces = match self.firewall.interfaces.as_slice() {
            [] => "every interface without a default route".into(),
            interfaces => list(interfaces),
        };
        let exempt = count(prefixes(&self.rules.direct_sources), "prefix");
        writeln!(out, "lan       {interfaces}; exempt: {exempt}")?;
        let offload = match (self.firewall.offload, self.firewall.backend) {
            (Offload::Off, _) => "off",
            (Offload::Auto, BackendChoice::Iptables | BackendChoice::None) => {
                "auto: nothing, since only backend = \"nftables\" has flowtables"
            }
            (Offload::Auto, BackendChoice::Nftables) => {
                "auto: forwarded domestic flows, where the kernel has flowtables and nobody else \
                 uses them"
            }
            (Offload::Auto, BackendChoice::Auto) => {
                "auto: forwarded domestic flows with nftables, where the kernel has flowtables and \
                 nobody else uses them"
            }
        };
        writeln!(out, "offload   {offload}")
    }
}

fn describe(proxy: &ProxyConfig) -> String {
    let host =
        if proxy.host.contains(':') { format!("[{}]", proxy.host) } else { proxy.host.clone() };
    let kind = match &proxy.kind {
        ProxyKind::Shadowsocks { key, plugin } => {
            format!("shadowsocks, {}{}", key.method(), through(plugin.as_ref()))
        }
        ProxyKind::Http { credentials } => with_user("http", credentials.is_some()),
        ProxyKind::Https { credentials, tls } => {
            let identity = match &tls.trust {
                Trust::Public => format!("certificate for {}", tls.name),
                Trust::Authorities { file, .. } => {
                    format!("certificate for {} by {}", tls.name, file.display())
                }
                Trust::Key(_) => "by its key".into(),
            };
            format!("{}, {identity}", with_user("https", credentials.is_some()))
        }
        ProxyKind::Socks5 { credentials } => with_user("socks5", credentials.is_some()),
    };
    let (name, port) = (&proxy.name, proxy.port);
    format!("\"{name}\": {host}:{port}, {kind}")
}

/// Options may hold a password: only their names are shown.
fn through(plugin: Option<&PluginSpec>) -> String {
    let Some(plugin) = plugin else { return String::new() };
    let options = match plugin.option_names() {
        names if names.is_empty() => String::new(),
        names => format!(" ({})", names.join(", ")),
    };
    format!(", plugin {}{options}", plugin.program())
}

fn describe_provider(subscription: &SubscriptionConfig) -> String {
    let SubscriptionConfig { name, origin, update, provided, .. } = subscription;
    let origin = match origin {
        BodyOrigin::Url(url) => format!("{url}, every {}", show_duration(*update)),
        BodyOrigin::File(path) => path.display().to_string(),
    };
    format!("\"{name}\": {origin}; {provided}")
}

fn with_user(kind: &str, has_user: bool) -> String {
    if has_user { format!("{kind}, with user name") } else { kind.to_owned() }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn servers(servers: &[SocketAddr]) -> String {
    let show = |server: &SocketAddr| match server.port() {
        53 => server.ip().to_string(),
        _ => server.to_string(),
    };
    list(&servers.iter().map(show).collect::<Vec<_>>())
}

fn prefixes(set: &IpSet) -> usize {
    set.prefixes_v4().count() + set.prefixes_v6().count()
}

fn addresses(number: u64) -> String {
    match number {
        0..1_000_000 => format!("{number} addresses"),
        _ => format!("{}.{} million addresses", number / 1_000_000, number / 100_000 % 10),
    }
}

fn count(number: usize, noun: &str) -> String {
    let ending = match (number, noun.ends_with('x')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{number} {noun}{ending}")
}
