//! `rules.watch`: which files are watched, and what is read again.

use super::files::Folder;
use crate::file_stamp::FileStamp;

const PROXY: &str = "[[proxy]]\ntype = \"http\"\nserver = \"192.0.2.1:1\"\nusername = \"a\"\n\
                     password-file = \"pw\"\n";

#[test]
fn the_files_of_lists_are_watched_and_what_they_include() {
    let folder = Folder::new("watched");
    folder.write("pw", 0o600, "hunter2");
    folder.write("china", 0o644, "192.0.2.0/24\n");
    folder.write("names", 0o644, "domain:a.example\ninclude:more\ninclude:not-yet\n");
    folder.write("more", 0o644, "domain:b.example\n");
    folder.write("blocked", 0o644, "ads.example\n");
    let lists = "china-ip-file = \"china\"\nproxy-domain-file = \"names\"\n\
                 block-domain-file = [\"blocked\"]\n";
    let watched = |first: &str| {
        let config = folder.load(&format!("[rules]\n{first}{lists}{PROXY}")).unwrap().config;
        config.rules.watched
    };
    assert_eq!(watched(""), []);
    let files = watched("watch = true\n");
    let mut names: Vec<String> = files
        .iter()
        .map(|file| file.path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["blocked", "china", "more", "names", "not-yet"]);
    let changed = || files.iter().filter(|file| FileStamp::at(&file.path) != file.stamp).count();
    assert_eq!(changed(), 0);
    folder.write("more", 0o644, "domain:c.example\n");
    folder.write("not-yet", 0o644, "domain:d.example\n");
    assert_eq!(changed(), 2);
}

#[test]
fn the_lists_alone_are_read_again() {
    let folder = Folder::new("again");
    folder.write("pw", 0o600, "hunter2");
    folder.write("blocked", 0o644, "a.example\n");
    let text = format!("[rules]\nwatch = true\nblock-domain-file = \"blocked\"\n{PROXY}");
    let before = folder.load(&text).unwrap().config;
    let blocks = |config: &crate::config::Config, name: &str| {
        let name: crate::domain::Name = name.parse().unwrap();
        config.rules.routes.blocked_names.find(name.as_wire()).is_some()
    };
    assert!(blocks(&before, "a.example") && !blocks(&before, "b.example"));
    assert!(!format!("{before:?}").contains("password-file"), "the text is not shown");

    // Half an edit, and what no longer stands as it was read.
    folder.write("snet.toml", 0o600, "[rules]\nwatch = ");
    folder.write("blocked", 0o644, "b.example\nc.example^$popup\n");
    std::fs::remove_file(folder.0.join("pw")).unwrap();
    let after = before.with_lists().unwrap();
    assert!(!blocks(&after, "a.example") && blocks(&after, "b.example"));
    assert!(after.rules.lists[0].contains("1 line used (plain), 1 passed over"), "{after:?}");
    assert_ne!(after.rules.watched, before.rules.watched);
    assert_eq!(after.proxies, before.proxies);

    folder.write("blocked", 0o644, "");
    let problems = after.with_lists().unwrap_err().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("blocked: rules.block-domain-file: found 0 lines used"));
    folder.write("blocked", 0o644, "a.example\n");
    assert!(blocks(&after.with_lists().unwrap(), "a.example"));
}
