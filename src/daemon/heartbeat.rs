//! The pulse that keeps the rules acting.
//!
//! Every rule of ours that acts also asks a set whose entries expire after a few seconds. The
//! heartbeat renews them, and only after the accept loop and the resolver have really answered a
//! question: whatever hangs, dies or is stopped, the kernel lets the network go within seconds.
//! A process that runs but does not answer is as dead as one that was killed. systemd's watchdog is
//! fed by the same answers.

use crate::net::Outbound;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

/// Between two beats. The kernel's entries live three times as long ([`crate::firewall::PULSE`]).
const INTERVAL: Duration = Duration::from_secs(2);

/// A part that takes longer to answer is not alive. One late answer costs one beat of three.
const PATIENCE: Duration = Duration::from_millis(1500);

/// `localhost. A IN`, recursion desired: the resolver answers it by itself.
const QUESTION: &[u8] =
    b"\x70\x75\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09localhost\x00\x00\x01\x00\x01";

/// What the probes ask.
#[derive(Debug, Clone)]
pub(super) struct Pulse {
    outbound: Outbound,
    tcp: Vec<SocketAddr>,
    dns: Vec<SocketAddr>,
}

impl Pulse {
    /// The ports on these listening addresses; `--dns-only` has no TCP port.
    pub(super) fn new(
        outbound: Outbound,
        listening: &[IpAddr],
        tcp: Option<u16>,
        dns: u16,
    ) -> Self {
        let at = |port| listening.iter().map(move |ip| SocketAddr::new(reachable(*ip), port));
        Pulse { outbound, tcp: tcp.into_iter().flat_map(at).collect(), dns: at(dns).collect() }
    }

    /// Beats until `stopped` turns true: `renew` is called after every round of answers. Returns
    /// true.
    pub(super) async fn beat(
        self,
        renew: impl AsyncFn(),
        mut stopped: watch::Receiver<bool>,
    ) -> bool {
        let mut ticks = interval(INTERVAL);
        // After a suspend one beat is enough, at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_alive = true;
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return true,
                _ = ticks.tick() => {}
            }
            match self.probe().await {
                Ok(()) => {
                    if !was_alive {
                        info!("everything answers again");
                    }
                    was_alive = true;
                    renew().await;
                }
                // Whoever does not answer was told to stop.
                Err(_) if *stopped.borrow() || stopped.has_changed().is_err() => return true,
                Err((part, error)) => {
                    if was_alive {
                        warn!(
                            "{part} does not answer ({error}); whatever leads there stops in a few seconds"
                        );
                    }
                    was_alive = false;
                }
            }
        }
    }

    /// All at once: a round takes no longer than its slowest answer.
    async fn probe(&self) -> Result<(), (&'static str, io::Error)> {
        let mut asked = JoinSet::new();
        for address in self.tcp.clone() {
            let pulse = self.clone();
            asked.spawn(async move {
                let answered = bounded(pulse.accept_loop(address)).await;
                answered.map_err(|error| ("the redirect port", error))
            });
        }
        for address in self.dns.clone() {
            let pulse = self.clone();
            asked.spawn(async move {
                bounded(pulse.resolver(address)).await.map_err(|error| ("the resolver", error))
            });
        }
        while let Some(answered) = asked.join_next().await {
            answered.map_err(|panic| ("the heartbeat", io::Error::other(panic)))??;
        }
        Ok(())
    }

    /// A connection that was not redirected is turned away: that it is tells that connections are
    /// accepted and served.
    async fn accept_loop(&self, address: SocketAddr) -> io::Result<()> {
        let asked = async {
            let mut stream = self.outbound.tcp(&[address]).await?;
            stream.read(&mut [0]).await
        };
        match asked.await {
            Err(error) if !was_turned_away(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn resolver(&self, address: SocketAddr) -> io::Result<()> {
        let socket = self.outbound.udp(address).await?;
        socket.send(QUESTION).await?;
        let mut answer = [0; 512];
        // A burst of names may fill the queue and cost one datagram.
        if let Ok(answered) = timeout(PATIENCE / 2, socket.recv(&mut answer)).await {
            return answered.map(drop);
        }
        socket.send(QUESTION).await?;
        socket.recv(&mut answer).await.map(drop)
    }
}

/// A reset is the answer, and may come before the dial has set its options: they fail then
/// (setsockopt(2) EINVAL, getpeername(2) ENOTCONN). "Refused" is no answer: nobody listens.
fn was_turned_away(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionReset | InvalidInput | NotConnected)
}

/// An address to reach a listener at; a wildcard has none of its own.
fn reachable(listening: IpAddr) -> IpAddr {
    match listening {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

async fn bounded(probe: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(PATIENCE, probe).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::wire::Query;
    use crate::mark::Fwmark;
    use crate::net::{Refusal, listen, reset, udp};
    use std::sync::{Arc, Mutex};

    #[test]
    fn the_question_is_one() {
        let query = Query::parse(QUESTION).unwrap();
        assert_eq!(query.to_name().unwrap().to_string(), "localhost");
    }

    /// A port that resets, and one that echoes; each can be left dumb.
    async fn pulse(accepts: bool, answers: bool) -> Pulse {
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        let listener = listen::tcp(SocketAddr::new(loopback, 0)).unwrap();
        let socket = udp::bind(SocketAddr::new(loopback, 0)).unwrap();
        let (tcp, dns) =
            (listener.local_addr().unwrap().port(), socket.local_addr().unwrap().port());
        let socket = socket.listen().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if accepts {
                    reset(stream);
                } else {
                    std::mem::forget(stream);
                }
            }
        });
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                socket.readable().await.unwrap();
                if let Ok((length, asker)) = socket.try_receive(&mut buffer)
                    && answers
                {
                    socket.reply(&asker, &buffer[..length]).unwrap();
                }
            }
        });
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        Pulse::new(outbound, &[loopback], Some(tcp), dns)
    }

    #[tokio::test]
    async fn only_real_answers_count() {
        assert!(pulse(true, true).await.probe().await.is_ok());
        assert_eq!(pulse(false, true).await.probe().await.unwrap_err().0, "the redirect port");
        assert_eq!(pulse(true, false).await.probe().await.unwrap_err().0, "the resolver");
    }

    /// What is said while it beats and the resolver is dumb; `end` comes in the middle of a probe, and
    /// keeps the sender if it is to live on.
    async fn said(
        end: impl AsyncFnOnce(watch::Sender<bool>) -> Option<watch::Sender<bool>>,
    ) -> String {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&log);
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || Log(Arc::clone(&writer))).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let (stop, stopped) = watch::channel(false);
        let pulse = pulse(true, false).await;
        let beating = pulse.beat(async || panic!("nobody answered"), stopped);
        let ending = async {
            tokio::time::sleep(PATIENCE / 10).await;
            end(stop).await
        };
        let (stopped, _stop) = tokio::join!(beating, ending);
        assert!(stopped);
        let log = log.lock().unwrap();
        String::from_utf8(log.clone()).unwrap()
    }

    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_told_to_stop_need_not_answer() {
        assert_eq!(said(async |_stop| None).await, "", "after an error");
        let in_order = said(async |stop| {
            stop.send(true).unwrap();
            Some(stop)
        });
        assert_eq!(in_order.await, "");
        let late = said(async |_stop| {
            tokio::time::sleep(PATIENCE * 2).await;
            None
        });
        assert!(late.await.contains("the resolver does not answer"));
    }
}
