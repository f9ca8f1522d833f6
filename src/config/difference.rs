//! What one configuration has otherwise than another one, in words: what a reload changed. Never a
//! secret: keys are those that `snet check` shows, and of a proxy only its name is told.

use super::{Config, ProxyConfig};
use crate::file_stamp::ListFile;
use std::collections::BTreeMap;

/// So many names are told of a kind; a subscription may have hundreds.
const MOST_SHOWN: usize = 5;

impl Config {
    /// What is otherwise than in `former`, one subject each; empty: nothing that is read.
    pub fn changes_since(&self, former: &Config) -> Vec<String> {
        let mut changes = keys(&former.settings.0, &self.settings.0);
        rules(former, self, &mut changes);
        files(&former.rules.files, &self.rules.files, &mut changes);
        proxies(&former.proxies, &self.proxies, &mut changes);
        changes
    }
}

/// Those of proxies are told as a proxy that changed.
fn keys(former: &[String], now: &[String]) -> Vec<String> {
    let told = |settings: &[String]| -> BTreeMap<String, String> {
        let pairs = settings.iter().filter_map(|setting| setting.split_once(" = "));
        let pairs = pairs.filter(|(key, _)| !key.starts_with("proxy["));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let (former, now) = (told(former), told(now));
    let mut changes = Vec::new();
    for (key, value) in &now {
        match former.get(key) {
            Some(before) if before == value => {}
            Some(before) => changes.push(format!("{key} = {value} (was {before})")),
            None => changes.push(format!("{key} = {value} (had its default)")),
        }
    }
    for (key, before) in former.iter().filter(|(key, _)| !now.contains_key(*key)) {
        changes.push(format!("{key} has its default again (was {before})"));
    }
    changes
}

/// A list that is too long to be shown whole may differ where that does not show.
fn rules(former: &Config, now: &Config, changes: &mut Vec<String>) {
    let (before, after) = (&*former.rules.routes, &*now.rules.routes);
    let differ = [
        ("rules.block", before.block != after.block),
        ("rules.proxy", before.proxy != after.proxy),
        ("rules.direct", before.direct != after.direct),
    ];
    for (key, _) in differ.iter().filter(|(_, differs)| *differs) {
        if !changes.iter().any(|change| change.starts_with(key)) {
            changes.push(format!("{key} has other addresses"));
        }
    }
    let is_told = changes.iter().any(|change| change.starts_with("rules."));
    if before.names != after.names && !is_told {
        changes.push("rules has other names".into());
    }
}

fn files(former: &[ListFile], now: &[ListFile], changes: &mut Vec<String>) {
    for file in now {
        let path = file.path.display();
        match former.iter().find(|it| it.path == file.path) {
            None => changes.push(format!("list {path} is new")),
            Some(before) if before.stamp != file.stamp => {
                changes.push(format!("list {path} has changed"));
            }
            Some(_) => {}
        }
    }
    let is_gone = |file: &&ListFile| !now.iter().any(|it| it.path == file.path);
    for file in former.iter().filter(is_gone) {
        changes.push(format!("list {} is gone", file.path.display()));
    }
}

fn proxies(former: &[ProxyConfig], now: &[ProxyConfig], changes: &mut Vec<String>) {
    let named =
        |proxies: &[ProxyConfig], name: &str| proxies.iter().position(|proxy| proxy.name == name);
    let (mut added, mut changed, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for proxy in now {
        match named(former, &proxy.name) {
            None => added.push(&*proxy.name),
            Some(place) if former[place] != *proxy => changed.push(&*proxy.name),
            Some(_) => {}
        }
    }
    for proxy in former.iter().filter(|proxy| named(now, &proxy.name).is_none()) {
        gone.push(&*proxy.name);
    }
    let has_same_names = added.is_empty() && gone.is_empty();
    let has_same_order = former.iter().zip(now).all(|(before, after)| before.name == after.name);
    let kinds = [("added", added), ("changed", changed), ("gone", gone)];
    for (what, names) in kinds.iter().filter(|(_, names)| !names.is_empty()) {
        let plural = if names.len() == 1 { "proxy" } else { "proxies" };
        let shown = names.iter().take(MOST_SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = match names.len().saturating_sub(MOST_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        changes.push(format!("{plural} {what}: {shown}{more}"));
    }
    if has_same_names && !has_same_order {
        changes.push("the proxies have another order".into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Purpose, read};
    use super::*;
    use std::path::Path;

    const ONE: &str = "[[proxy]]\nname = \"one\"\ntype = \"http\"\nserver = \"192.0.2.1:1\"\n";
    const TWO: &str = "[[proxy]]\nname = \"two\"\ntype = \"http\"\nserver = \"192.0.2.2:1\"\n";

    fn config(text: &str) -> Config {
        read::parse(Path::new("/etc/snet/config.toml"), text, Purpose::Daemon).unwrap().0.config
    }

    fn changes(before: &str, after: &str) -> Vec<String> {
        config(after).changes_since(&config(before))
    }

    #[test]
    fn the_same_file_changes_nothing() {
        let text = format!("scope = \"global\"\n[rules]\nblock = [\"192.0.2.9\"]\n{ONE}");
        assert_eq!(changes(&text, &format!("# a remark\n{text}")), [] as [&str; 0]);
    }

    #[test]
    fn keys_are_told_with_both_values() {
        let before = format!("[rules]\nblock = [\"192.0.2.9\"]\n[log]\nlevel = \"debug\"\n{ONE}");
        let after =
            format!("scope = \"global\"\n[rules]\nblock = [\"192.0.2.9\", \"example.com\"]\n{ONE}");
        assert_eq!(
            changes(&before, &after),
            [
                "rules.block = [\"192.0.2.9\", \"example.com\"] (was [\"192.0.2.9\"])",
                "scope = \"global\" (had its default)",
                "log.level has its default again (was \"debug\")",
            ]
        );
    }

    #[test]
    fn what_is_too_long_to_be_shown_is_told_too() {
        let rules = |last: u8| {
            let addresses: Vec<_> = (0..200u8).chain([last]).collect();
            let addresses = addresses.iter().map(|it| format!("\"198.51.100.{it}\""));
            let addresses = addresses.collect::<Vec<_>>().join(", ");
            format!("[rules]\ndirect = [{addresses}]\n{ONE}")
        };
        let told = changes(&rules(201), &rules(210));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("rules.direct "), "{told:?}");
    }

    #[test]
    fn proxies_are_told_by_name_only() {
        let (both, turned) = (format!("{ONE}{TWO}"), format!("{TWO}{ONE}"));
        assert_eq!(changes(ONE, &both), ["proxy added: two"]);
        assert_eq!(changes(&both, TWO), ["proxy gone: one"]);
        assert_eq!(changes(&both, &turned), ["the proxies have another order"]);
        let secret = format!("{ONE}username = \"me\"\npassword = \"hidden-word\"\n");
        assert_eq!(changes(ONE, &secret), ["proxy changed: one"]);
        let many: String = (0..9).map(|it| ONE.replace("one", &format!("p{it}"))).collect();
        assert_eq!(
            changes(ONE, &many),
            ["proxies added: p0, p1, p2, p3, p4 and 4 more", "proxy gone: one"]
        );
    }

    #[test]
    fn files_of_lists_are_told() {
        let folder = std::env::temp_dir().join(format!("snet-difference-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let list = folder.join("blocked");
        std::fs::write(&list, "example.com\n").unwrap();
        let text = format!("[rules]\nblock-domain-file = {:?}\n{ONE}", list.to_str().unwrap());
        let before = config(&text);
        std::fs::write(&list, "example.com\nexample.net\n").unwrap();
        let after = config(&text);
        std::fs::remove_dir_all(&folder).unwrap();
        let path = list.display();
        assert_eq!(after.changes_since(&before), [format!("list {path} has changed")]);
        let told = before.changes_since(&config(ONE));
        assert_eq!(told[1..], [format!("list {path} is new")]);
    }
}
