//! What a proxy is told of a destination: its address, or the name by which the client found it.
//!
//! By the name the far side finds the host that is nearest to it, and a proxy that refuses bare
//! addresses works. The route was decided by the address before, and stays. Datagrams are always
//! told addresses: an answer has to come from the address that the program asked.

use crate::route::ToldName;
use crate::target::Target;

/// `send-names` of a `[[proxy]]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendNames {
    /// The name, where the client was told only one for this address.
    #[default]
    Auto,
    /// The name that it was told last.
    Always,
    /// Always the address.
    Off,
}

/// Name servers are meant by their address: the same question asked of another one may have
/// another answer.
const NAME_SERVER_PORTS: [u16; 2] = [53, 853];

/// Whether it is the port of a name server.
pub(super) fn is_of_a_name_server(target: &Target) -> bool {
    target.address().is_some_and(|address| NAME_SERVER_PORTS.contains(&address.port()))
}

/// The target of a connection as each member may be told it.
#[derive(Debug)]
pub(super) struct MemberTarget<'a> {
    target: &'a Target,
    /// With the name; and whether no other name leads to the address.
    named: Option<(Target, bool)>,
}

impl<'a> MemberTarget<'a> {
    /// The target, which the client found by this name.
    pub(super) fn new(target: &'a Target, told: Option<&ToldName>) -> Self {
        let named = told.and_then(|told| match target {
            Target::Addr(address) if !is_of_a_name_server(target) => {
                let named = Target::Named { address: *address, name: told.name.clone() };
                Some((named, told.is_sole))
            }
            _ => None,
        });
        MemberTarget { target, named }
    }

    /// As a member that is told names so is told it.
    pub(super) fn sent(&self, send_names: SendNames) -> &Target {
        match (&self.named, send_names) {
            (Some((named, true)), SendNames::Auto) | (Some((named, _)), SendNames::Always) => named,
            _ => self.target,
        }
    }
}
