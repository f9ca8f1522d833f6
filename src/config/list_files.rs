//! The files of lists that a key names, one or several, and what is said of each.

use super::file;
use super::item::Item;
use crate::domain::{NameList, NameListBuilder};
use crate::file_stamp::ListFile;
use crate::ipset::IpSet;
use crate::lists::{ListReport, ListUse, read_names, read_prefixes};
use std::path::Path;

/// Files that one list includes; the whole of v2fly's has 1,500.
const MOST_INCLUDED: usize = 4096;

/// The names of all files of a key.
pub(super) fn names(item: &Item<'_>, list_use: ListUse) -> Option<NameList> {
    let mut list = NameListBuilder::default();
    let mut all_read = true;
    for item in files(item)? {
        let Some((path, content)) = file::list(&item) else { continue };
        note(&item, &path, Some(&content));
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let (mut included, mut left) = (0, file::LONGEST_LIST);
        let mut include = |name: &str| {
            included += 1;
            if included > MOST_INCLUDED {
                return None;
            }
            let path = folder.join(name);
            let content = file::included(&path, left);
            note(&item, &path, content.as_ref());
            let content = content?;
            left = left.saturating_sub(content.bytes.len() as u64);
            Some(content.bytes.to_vec())
        };
        let report = read_names(&content.bytes, list_use, &mut include, &mut list);
        all_read &= is_told(&item, &path, &report, "a file with at least one name to use");
    }
    all_read.then(|| list.build())
}

/// The addresses of all files of a key.
pub(super) fn prefixes(item: &Item<'_>) -> Option<IpSet> {
    let accepted =
        "a file with at least one prefix; if nothing is to be domestic, scope = \"global\"";
    let (mut all, mut any) = (IpSet::default(), false);
    for item in files(item)? {
        let Some((path, content)) = file::list(&item) else { continue };
        note(&item, &path, Some(&content));
        let (set, report) = read_prefixes(&content.bytes);
        any |= is_told(&item, &path, &report, accepted);
        all = all.union(&set);
    }
    any.then_some(all)
}

/// A file has been read, or cannot be: it may be watched.
fn note(item: &Item<'_>, path: &Path, content: Option<&file::Content>) {
    let stamp = content.map(|content| content.stamp);
    item.source.note_list_file(ListFile { path: path.to_owned(), stamp });
}

/// A file or several.
fn files<'a>(item: &Item<'a>) -> Option<Vec<Item<'a>>> {
    if item.value.is_array() { item.elements() } else { Some(vec![item.clone()]) }
}

/// Says what came of a file; whether anything did.
fn is_told(item: &Item<'_>, path: &Path, report: &ListReport, accepted: &str) -> bool {
    let path = path.display();
    if report.used.is_empty() {
        let what = format!("{path}: {}: found {report}; accepted: {accepted}", item.key);
        item.source.problem_elsewhere(item.at, what);
        return false;
    }
    item.source.note_list(item.at, format!("{path} ({}): {report}", item.key));
    true
}
