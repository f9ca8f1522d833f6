//! How many sockets may be open beside those of the connections that are relayed. Descriptors are
//! set aside for them (`daemon::limits`): whoever finds none left does without, and the heartbeat,
//! which is in no count, still gets its own.

use std::sync::Arc;
use tokio::sync::Semaphore;

/// Numbers of sockets; a descriptor each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Sockets from which questions are asked over UDP, each with a random port.
    pub questions: usize,
    /// Questions that are asked again over TCP, since the answer was cut; beside their UDP socket.
    pub fallbacks: usize,
    /// Clients of the resolver over TCP.
    pub clients: usize,
    /// Dials to a further address of a server, beside the first.
    pub races: usize,
    /// Connections to proxies that are dialled ahead of need.
    pub warm: usize,
}

/// The same, to be taken from.
#[derive(Debug)]
pub struct Allowance {
    pub(crate) numbers: Numbers,
    pub(crate) questions: Arc<Semaphore>,
    pub(crate) fallbacks: Semaphore,
    pub(crate) clients: Arc<Semaphore>,
    pub(crate) races: Arc<Semaphore>,
    pub(crate) warm: Arc<Semaphore>,
}

impl Allowance {
    /// So many.
    pub fn new(numbers: Numbers) -> Self {
        Allowance {
            numbers,
            questions: Arc::new(Semaphore::new(numbers.questions)),
            fallbacks: Semaphore::new(numbers.fallbacks),
            clients: Arc::new(Semaphore::new(numbers.clients)),
            races: Arc::new(Semaphore::new(numbers.races)),
            warm: Arc::new(Semaphore::new(numbers.warm)),
        }
    }
}

/// For tests and tools, which set nothing aside.
impl Default for Allowance {
    fn default() -> Self {
        Allowance::new(Numbers { questions: 336, fallbacks: 56, clients: 16, races: 56, warm: 56 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Fwmark;
    use crate::net::{Outbound, Refusal, listen};
    use std::net::SocketAddr;
    use std::time::Duration;
    use tokio::time::timeout;

    /// A listener whose backlog is full answers nothing: a dial there waits.
    fn silent() -> (socket2::Socket, Vec<socket2::Socket>, SocketAddr) {
        use socket2::{Domain, Socket, Type};
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let crowd = (0..4).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        });
        (listener, crowd.collect(), address.as_socket().unwrap())
    }

    /// The second address is tried beside the first only while there is a descriptor for it.
    #[tokio::test(start_paused = true)]
    async fn a_race_needs_room() {
        let (_listener, _crowd, silent) = silent();
        let answering = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let addresses = [silent, answering.local_addr().unwrap()];
        let numbers = |races| Numbers { questions: 1, fallbacks: 1, clients: 1, races, warm: 0 };
        for (races, connects) in [(1, true), (0, false)] {
            let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless)
                .within(Allowance::new(numbers(races)));
            let dialled = timeout(Duration::from_millis(800), outbound.tcp(&addresses)).await;
            assert_eq!(dialled.is_ok_and(|dialled| dialled.is_ok()), connects);
            assert_eq!(outbound.allowance().races.available_permits(), races, "given back");
        }
    }
}
