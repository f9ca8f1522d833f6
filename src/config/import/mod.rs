//! `snet config import`: what another program's file says, as a file of snet's own.
//!
//! | file | subject |
//! |---|---|
//! | `snet_json` | SNET's `config.json`, which says what a whole configuration says |
//! | `servers` | the proxies of a Clash or sing-box file, of shadowsocks' own, of a list of links |
//! | `draft` | what was understood, and the text of the file |
//!
//! Two promises. The text loads: what snet refuses of it is taken out again, with the reason. And
//! nothing is lost silently: what is not in the text as a key is in its comments as a line. No
//! comment shows a secret.

mod draft;
mod servers;
mod snet_json;

use super::foreign::ForeignFile;
use super::read::parse;
use super::{Config, Loaded, Purpose};
use crate::subscription::format::{LONGEST_BODY, UnreadableBody};
use draft::{DraftPart, ImportDraft};
use std::path::Path;
use zeroize::Zeroizing;

/// The name under which a draft is tried; it is in no message.
const TRIED: &str = "snet.toml";

/// What came of a file.
pub struct ImportedConfig {
    /// The text of the file; it holds passwords.
    pub text: Zeroizing<String>,
    /// What it means.
    pub config: Config,
    /// How many lines of its comments say what was not taken over.
    pub left_out: usize,
}

/// Reads another program's file, whatever it is. `folder` is where it lies: relative names in it
/// are looked for there.
///
/// # Errors
/// What it is instead, or why it has no proxy that snet can use: a line or several, never a secret.
pub fn import(bytes: &[u8], folder: &Path) -> Result<ImportedConfig, String> {
    if bytes.len() > LONGEST_BODY {
        return Err(format!("found more than {} MiB; accepted: less", LONGEST_BODY >> 20));
    }
    let text = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    let text = text.trim_start_matches('\u{feff}');
    let draft = match ForeignFile::of(text) {
        Some(ForeignFile::Snet) => snet_json::read(text, folder)?,
        other => servers::read(bytes).map_err(|UnreadableBody { found }| {
            let found = match (other, parse(Path::new(TRIED), text, Purpose::DnsOnly)) {
                (None, Ok(_)) => "a configuration of snet, which needs no import".into(),
                (Some(ForeignFile::Xray), _) => ForeignFile::Xray.to_string(),
                _ => found,
            };
            format!(
                "found {found}; accepted: SNET's config.json, a Clash file (proxies), a sing-box \
                 file (outbounds), shadowsocks' config.json or SIP008, links"
            )
        })?,
    };
    settled(draft)
}

/// Takes out what snet refuses, until it refuses nothing.
fn settled(mut draft: ImportDraft) -> Result<ImportedConfig, String> {
    // Each round takes out something, so this ends.
    loop {
        if draft.proxies.is_empty() {
            let mut lines = vec![format!("{} has no proxy that snet can use", draft.origin)];
            lines.extend(draft.left_out);
            return Err(lines.join("\n  "));
        }
        let (text, parts) = draft.text();
        let error = match parse(Path::new(TRIED), &text, Purpose::Daemon) {
            Ok((Loaded { config, .. }, _)) => {
                return Ok(ImportedConfig { text, config, left_out: draft.left_out.len() });
            }
            Err(error) => error,
        };
        let mut refused: Vec<(DraftPart, String)> = Vec::new();
        for problem in &error.problems {
            let (part, why) = of_problem(problem, &parts)
                .or_else(|| of_list(problem, &text, &parts))
                .ok_or_else(|| format!("{} cannot be made a file: {problem}", draft.origin))?;
            if !refused.iter().any(|(other, _)| *other == part) {
                refused.push((part, why));
            }
        }
        draft.take_out(refused);
    }
}

/// Which part of the draft a problem is of, and what is wrong with it.
fn of_problem(problem: &str, parts: &[Option<DraftPart>]) -> Option<(DraftPart, String)> {
    let (_, rest) = problem.split_once(&format!("{TRIED}:"))?;
    let (line, what) = rest.split_once(": ")?;
    let line: usize = line.parse().ok()?;
    let part = (*parts.get(line.checked_sub(1)?)?)?;
    // The key stands in the line of the comment already.
    let what = what.split_once(": ").map_or(what, |(_, what)| what);
    Some((part, what.to_owned()))
}

/// The same of a list file that the text names. What stands in it is not repeated: the file that
/// is imported may name any other.
fn of_list(problem: &str, text: &str, parts: &[Option<DraftPart>]) -> Option<(DraftPart, String)> {
    let lines = text.lines().zip(parts);
    let part = lines.filter_map(|(line, part)| {
        let (_, quoted) = line.split_once('"')?;
        let path = quoted.strip_suffix('"').filter(|path| path.starts_with('/'))?;
        part.filter(|_| problem.strip_prefix(path).is_some_and(|rest| rest.starts_with(':')))
    });
    let why = "found a list with lines that snet does not read; accepted: hosts, names, dnsmasq's \
               and the other formats of lists";
    Some((part.into_iter().next()?, why.into()))
}

#[cfg(test)]
mod tests;
