//! Configuration files: accepted or refused, never a panic, and a summary of what is accepted.

#![no_main]

use libfuzzer_sys::fuzz_target;
use snet::config::{Config, Purpose};
use std::path::PathBuf;
use std::sync::LazyLock;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("snet-fuzz-{}.toml", std::process::id())));

fuzz_target!(|text: &[u8]| {
    std::fs::write(&*FILE, text).expect("a file in the directory for temporary files");
    match Config::load(&FILE, Purpose::DnsOnly) {
        Ok(loaded) => drop(loaded.config.summary()),
        Err(error) => assert!(!error.problems.is_empty()),
    }
});
