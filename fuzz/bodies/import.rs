//! Another program's file: what is made of it loads, and its comments garble no terminal.

use snet::config::import;
use std::path::Path;

pub fn run(bytes: &[u8]) {
    // What it makes is read before it is given out.
    match import(bytes, Path::new("/nowhere")) {
        Ok(made) => {
            assert!(!made.config.proxies.is_empty());
            let comments = made.text.lines().filter(|line| line.starts_with('#'));
            assert!(comments.clone().count() >= made.left_out);
            for line in comments {
                assert!(!line.contains(char::is_control), "it goes to a terminal: {line:?}");
            }
        }
        Err(why) => {
            let is_odd = |c: char| c.is_control() && c != '\n';
            assert!(!why.contains(is_odd), "it goes to a terminal: {why:?}");
        }
    }
}
