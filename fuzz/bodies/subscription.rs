//! The body of a subscription, which a remote party writes: what is read is bounded, each proxy can
//! be printed as the link that means it, and nothing that is shown can garble a terminal.

use snet::share_link::ShareLink;
use snet::subscription::format::{MOST_PROXIES, SubscriptionBody};

pub fn run(bytes: &[u8]) {
    match SubscriptionBody::read(bytes) {
        Ok(body) => {
            assert!(body.proxies.len() <= MOST_PROXIES);
            for proxy in &body.proxies {
                let printed = proxy.link.to_string();
                assert_eq!(ShareLink::parse(&printed).as_ref(), Ok(&proxy.link), "{printed}");
            }
            let passed_over = &body.passed_over;
            assert!(passed_over.unfit.len() <= passed_over.unfit_count);
            let names = passed_over.unfit.iter().map(|(name, _)| name);
            let found = passed_over.unfit.iter().map(|(_, problem)| &problem.found);
            let shown = names.chain(found).chain(passed_over.protocols.keys());
            for text in shown.chain(&passed_over.information) {
                assert!(!text.contains(char::is_control), "it goes to a terminal: {text:?}");
            }
        }
        Err(unreadable) => assert!(!unreadable.found.contains(char::is_control)),
    }
}
