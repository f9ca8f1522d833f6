//! Servers of the example that nobody has replaced. `example.com` and its like are nobody's (RFC
//! 2606): with such a server every foreign connection would be refused, and why would be said only
//! while it runs.

use super::error::PlacedProblem;
use super::excerpt::{ProblemPlace, excerpt, line_ends};
use super::keys::Keys;
use super::link::place;
use super::{BodyOrigin, Config};
use std::path::Path;

const NOBODYS: [&str; 3] = ["example.com", "example.net", "example.org"];

/// One line for each of them.
pub(super) fn problems(
    config: &Config,
    path: &Path,
    text: &str,
    keys: &Keys,
) -> Vec<PlacedProblem> {
    let own = config.proxies.iter().take(config.own_proxies).enumerate();
    let proxies = own.filter(|(_, proxy)| is_nobodys(&proxy.host)).map(|(number, proxy)| {
        let key = format!("proxy[{}].server", number + 1);
        (key, proxy.host.as_str(), place(&proxy.host, proxy.port))
    });
    let subscriptions = config.subscriptions.iter().enumerate();
    let providers = subscriptions.filter_map(|(number, subscription)| match &subscription.origin {
        BodyOrigin::Url(url) if is_nobodys(&url.host) => {
            Some((format!("subscription[{}].url", number + 1), url.host.as_str(), url.host.clone()))
        }
        _ => None,
    });
    let problem = |(key, host, shown): (String, &str, String)| {
        let at = place_of(text, host);
        let line = text[..at].matches('\n').count() + 1;
        let what = format!(
            "{}:{line}: {key}: found {shown:?}, which stands for yours in the example; accepted: \
             your own server",
            path.display()
        );
        let meant = at..at + host.len();
        (what, excerpt(text, &line_ends(text), keys, &ProblemPlace::OfKey { key: &key, meant }))
    };
    proxies.chain(providers).map(problem).collect()
}

fn is_nobodys(host: &str) -> bool {
    NOBODYS.iter().any(|name| {
        host.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// Where it stands first but in comments. A link may hide it in base64.
fn place_of(text: &str, host: &str) -> usize {
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        let at = line.to_ascii_lowercase().find(host);
        if let Some(at) = at.filter(|_| !line.trim_start().starts_with('#')) {
            return begin + at;
        }
        begin += line.len();
    }
    0
}
