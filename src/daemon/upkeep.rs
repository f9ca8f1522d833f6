//! What the daemon shows of its lists, of the word of name servers, and of what was refused: the
//! parts of `snet status` that answer "how old", "whom to believe" and "why not".

use crate::config::{BodyOrigin, Config, SubscriptionConfig};
use crate::dns;
use crate::file_stamp::{FileStamp, ListFile};
use crate::ipset;
use crate::stats::{RefusalNote, RefusedKind, TrustStats};
use crate::view::{ListView, RefusalView, TrustView};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Lists and bodies, each with its age.
pub(super) fn lists(config: &Config) -> Vec<ListView> {
    let rules = &config.rules;
    let read = Some(rules.read_at.elapsed().as_secs());
    let mut views = Vec::new();
    if ipset::is_embedded_china(&rules.routes.china) {
        let (version, source) = (env!("CARGO_PKG_VERSION"), ipset::china_source());
        views.push(ListView {
            kind: "list".into(),
            says: format!("China, which is part of snet {version} ({source})"),
            age: ipset::china_day().map(age),
            ..ListView::default()
        });
    }
    for says in &rules.lists {
        let written = written(says, &rules.files);
        let says = says.clone();
        views.push(ListView { kind: "list".into(), says, age: written.map(age), read, next: None });
    }
    views.extend(config.subscriptions.iter().map(body));
    views
}

/// When the file was written that this line is about.
fn written(line: &str, files: &[ListFile]) -> Option<u64> {
    let is_of = |path: &Path| {
        let rest = path.to_str().and_then(|path| line.strip_prefix(path));
        rest.is_some_and(|rest| rest.starts_with(" ("))
    };
    let file = files.iter().rfind(|file| is_of(&file.path))?;
    file.stamp.as_ref().and_then(FileStamp::written)
}

fn body(subscription: &SubscriptionConfig) -> ListView {
    let age = subscription.provided.fetched().map(age);
    let is_fetched = matches!(subscription.origin, BodyOrigin::Url(_));
    let left = || subscription.update.as_secs().saturating_sub(age.unwrap_or(u64::MAX));
    ListView {
        kind: "subscription".into(),
        says: format!("{}: {}", subscription.name, subscription.provided),
        age,
        read: None,
        next: is_fetched.then(left),
    }
}

/// A clock that was set back makes it new.
fn age(moment: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs().saturating_sub(moment)
}

/// Whose word about names was believed.
pub(super) fn trust(stats: &TrustStats) -> TrustView {
    TrustView {
        weighed: stats.weighed.get(),
        foreign: stats.foreign.get(),
        forged: stats.forged.get(),
        forging: stats.forging(),
    }
}

/// One that is kept.
pub(super) fn refusal(refusal: &RefusalNote) -> RefusalView {
    RefusalView {
        network: match refusal.kind {
            RefusedKind::Connection => "tcp".into(),
            RefusedKind::Datagrams => "udp".into(),
            RefusedKind::Name(_) => "name".into(),
        },
        record: match refusal.kind {
            RefusedKind::Name(qtype) => Some(dns::type_name(qtype)),
            RefusedKind::Connection | RefusedKind::Datagrams => None,
        },
        age: refusal.at.elapsed().as_secs(),
        times: refusal.times,
        client: refusal.client,
        destination: refusal.destination,
        name: refusal.name.as_deref().map(str::to_owned),
        cause: refusal.cause.clone().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Purpose;

    #[test]
    fn lists_have_their_age_and_source() {
        let folder = std::env::temp_dir().join(format!("snet-upkeep-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (list, file) = (folder.join("blocked"), folder.join("config.toml"));
        std::fs::write(&list, "example.com\n").unwrap();
        let day = SystemTime::now() - std::time::Duration::from_secs(2 * 86400);
        std::fs::File::options().write(true).open(&list).unwrap().set_modified(day).unwrap();
        let text = format!(
            "[rules]\nblock-domain-file = \"blocked\"\n[[proxy]]\ntype = \"http\"\n\
             server = \"192.0.2.1:1\"\n[[subscription]]\nname = \"provider\"\n\
             url = \"https://192.0.2.2/\"\ncache-file = {:?}\n",
            folder.join("none-yet")
        );
        std::fs::write(&file, text).unwrap();
        let loaded = Config::load(&file, Purpose::Daemon);
        std::fs::remove_dir_all(&folder).unwrap();
        let [china, blocked, provider] = &lists(&loaded.unwrap().config)[..] else { panic!() };
        assert!(china.says.starts_with("China, which is part of snet "), "{china}");
        assert!(china.age > Some(0) && china.read.is_none());
        assert!(blocked.says.contains("1 line used"), "{blocked}");
        let two_days = 2 * 86400;
        assert!(blocked.age >= Some(two_days) && blocked.age < Some(two_days + 600), "{blocked}");
        assert!(blocked.read.is_some());
        assert_eq!((provider.age, provider.next), (None, Some(0)), "{provider}");
    }
}
