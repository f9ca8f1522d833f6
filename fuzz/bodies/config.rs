//! Configuration files: accepted or refused, never a panic, and a summary of what is accepted.

use snet::config::{Config, Purpose};
use std::path::PathBuf;
use std::sync::LazyLock;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("snet-fuzz-{}.toml", std::process::id())));

pub fn run(text: &[u8]) {
    std::fs::write(&*FILE, text).expect("a file in the directory for temporary files");
    let loaded = Config::load(&FILE, Purpose::DnsOnly);
    let _ = std::fs::remove_file(&*FILE);
    match loaded {
        Ok(loaded) => drop(loaded.summary()),
        Err(error) => assert!(!error.problems.is_empty()),
    }
}
