//! A link that a user pastes: what is read is printed and read as the same again.

use snet::share_link::ShareLink;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match ShareLink::parse(text) {
        Ok(link) => {
            let printed = link.to_string();
            assert_eq!(ShareLink::parse(&printed), Ok(link), "{printed}");
        }
        Err(problem) => {
            assert!(!problem.found.contains(char::is_control), "it goes to a terminal");
        }
    }
}
