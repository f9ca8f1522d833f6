//! The only birthplace of sockets: each outgoing one carries the mark.
//!
//! `clippy.toml` forbids raw connects and binds elsewhere. [`Outbound`] makes outgoing sockets,
//! [`listen`] and
//! [`udp`] make listening ones, [`origin`] asks the kernel where a redirected connection
//! wanted to go.

pub mod allowance;
pub mod dial;
pub mod first_bytes;
pub mod listen;
pub mod origin;
pub mod owner;
pub mod pipe;
pub mod probe;
pub mod stream;
pub mod udp;

mod own;

use crate::fault::{self, Fault};
use crate::mark::Fwmark;
use crate::task;
use allowance::Allowance;
use dial::DialOptions;
use own::Own;
pub use own::Returned;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

/// RFC 8305, 5: the pause before the next address of a host is tried beside the first.
const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The way sockets leave this machine: all of them marked.
#[derive(Clone, Debug)]
pub struct Outbound {
    mark: Fwmark,
    refusal: Refusal,
    options: DialOptions,
    own: Arc<Own>,
    allowance: Arc<Allowance>,
    is_second: bool,
}

/// What it means if the kernel refuses SO_MARK (EPERM without CAP_NET_ADMIN, socket(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An error: an unmarked socket would be captured by our own rules.
    Fatal,
    /// Nothing: no rule of ours is installed (`--dns-only`, `backend = "none"`).
    Harmless,
}

impl Outbound {
    /// Sockets with this mark.
    pub fn new(mark: Fwmark, refusal: Refusal) -> Self {
        Outbound {
            mark,
            refusal,
            options: DialOptions::default(),
            own: Arc::default(),
            allowance: Arc::default(),
            is_second: false,
        }
    }

    /// The same way, for the second dial of a connection that came back.
    #[must_use]
    pub fn second(&self) -> Self {
        Outbound { is_second: true, ..self.clone() }
    }

    /// The same way, with so many sockets beside those of connections.
    #[must_use]
    pub fn within(self, allowance: Allowance) -> Self {
        Outbound { allowance: Arc::new(allowance), ..self }
    }

    /// How many sockets may be open beside those of connections.
    pub fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// The same way, with these options.
    #[must_use]
    pub fn with_options(self, options: DialOptions) -> Self {
        Outbound { options, ..self }
    }

    /// Whether the first bytes should be at hand for [`tcp_saying`](Self::tcp_saying).
    pub fn opens_fast(&self) -> bool {
        self.options.fast_open
    }

    /// Tries whether this process may set the mark.
    ///
    /// # Errors
    /// What the kernel says of SO_MARK or of the socket; never for [`Refusal::Harmless`].
    pub fn probe(&self) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        self.apply_mark(&socket)
    }

    /// Connects to the first of these addresses that answers; the next one is tried when one
    /// fails or after a quarter of a second (RFC 8305), and the first failure is reported if all
    /// fail. Has no time-out of its own. The socket has TCP_NODELAY and keepalive.
    ///
    /// # Errors
    /// `InvalidInput` for no address, else the error of the first address.
    pub async fn tcp(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let Some((first, rest)) = addresses.split_first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to connect to"));
        };
        if rest.is_empty() {
            return Ok(self.connect(*first, &[]).await?.0);
        }
        self.race(addresses).await
    }

    /// The same, and says `first` there. With Fast Open it leaves in the SYN, if only one address
    /// is to be tried: of several, more than one server could take it for its own.
    ///
    /// # Errors
    /// As [`tcp`](Self::tcp); what sending says.
    pub async fn tcp_saying(
        &self,
        addresses: &[SocketAddr],
        first: &[u8],
    ) -> io::Result<TcpStream> {
        let (mut stream, sent) = match addresses {
            [address] if self.options.fast_open => self.connect(*address, first).await?,
            _ => (self.tcp(addresses).await?, 0),
        };
        stream.write_all(&first[sent..]).await?;
        Ok(stream)
    }

    async fn race(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let mut attempts = task::JoinSet::new();
        let mut waiting = addresses.iter();
        let mut first_error = None;
        loop {
            // A connection has one descriptor for its dial; more than one at a time are lent.
            let lent = match attempts.is_empty() {
                true => Some(None),
                false => Arc::clone(&self.allowance.races).try_acquire_owned().ok().map(Some),
            };
            let may_begin = lent.is_some();
            if let Some(lent) = lent {
                match waiting.next() {
                    Some(address) => {
                        let (outbound, address) = (self.clone(), *address);
                        attempts.spawn(async move {
                            let _lent = lent;
                            outbound.connect(address, &[]).await
                        });
                    }
                    None if attempts.is_empty() => break,
                    None => {}
                }
            }
            let finished = if may_begin && waiting.len() > 0 {
                match tokio::time::timeout(CONNECTION_ATTEMPT_DELAY, attempts.join_next()).await {
                    Ok(finished) => finished,
                    Err(_) => continue,
                }
            } else {
                attempts.join_next().await
            };
            match finished {
                Some(Ok(Ok((stream, _)))) => return Ok(stream),
                Some(Ok(Err(error))) => first_error = first_error.or(Some(error)),
                Some(Err(died)) => first_error = first_error.or(Some(io::Error::other(died))),
                None => {}
            }
        }
        Err(first_error.unwrap_or_else(|| io::Error::other("no attempt was made")))
    }

    /// Returns the connection, and how many of the `first` bytes have left.
    async fn connect(&self, address: SocketAddr, first: &[u8]) -> io::Result<(TcpStream, usize)> {
        let socket = dial::socket(address, self.options)?;
        self.apply_mark(&socket)?;
        let sent = self.own.noting(&socket, address, self.is_second, || {
            dial::begin(&socket, address, first).map_err(|error| no_source(error, address))
        })?;
        let stream = TcpStream::from_std(socket.into())?;
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        tune(&stream)?;
        Ok((stream, sent))
    }

    /// A UDP socket connected to `peer` with a random local port. Connected, so that the kernel
    /// drops datagrams from anybody else.
    ///
    /// # Errors
    /// What the kernel says of the socket, the mark or the address.
    pub async fn udp(&self, peer: SocketAddr) -> io::Result<UdpSocket> {
        let kind = Type::DGRAM.nonblocking();
        let socket = Socket::new(Domain::for_address(peer), kind, Some(Protocol::UDP))?;
        self.apply_mark(&socket)?;
        let any = match peer {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // Port 0: the kernel picks at random from ip_local_port_range (inet_csk_get_port).
        socket.bind(&SocketAddr::new(any, 0).into())?;
        socket.connect(&peer.into())?;
        UdpSocket::from_std(socket.into())
    }

    /// Whether what was accepted, from `client` to `destination`, is a connection of our own that
    /// came back.
    pub fn returned(
        &self,
        accepted: &TcpStream,
        client: SocketAddr,
        destination: SocketAddr,
    ) -> Option<Returned> {
        self.own.returned(accepted, client, destination)
    }

    fn apply_mark(&self, socket: &Socket) -> io::Result<()> {
        if fault::is(Fault::Mark) {
            return Ok(());
        }
        match (socket.set_mark(self.mark.value()), self.refusal) {
            (Err(_), Refusal::Harmless) | (Ok(()), _) => Ok(()),
            (Err(error), Refusal::Fatal) => Err(error),
        }
    }
}

/// Whether this machine itself has the address: then a socket that is connected to it has it too.
/// (To bind would not tell: ip(7), ip_nonlocal_bind.) Nothing is sent.
pub fn is_own_address(peer: SocketAddr) -> bool {
    let local = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP)).and_then(
        |socket| {
            socket.connect(&peer.into())?;
            socket.local_addr()
        },
    );
    local.is_ok_and(|local| local.as_socket().is_some_and(|local| local.ip() == peer.ip()))
}

/// The link that the part of a link-local address behind `%` means (RFC 4007, 11): the name of an
/// interface, or its number. `None`: there is no such interface.
pub fn scope(text: &str) -> Option<u32> {
    let number = text.parse().ok().filter(|number| *number != 0);
    number.or_else(|| nix::net::if_::if_nametoindex(text).ok())
}

/// Options of every relayed connection, on both legs: no Nagle (the other side has delayed
/// enough), and keepalive after two minutes, so that a vanished peer is found in four. Set on a
/// listener, they are those of every connection it accepts (sk_clone_lock), which saves five
/// system calls for each.
///
/// # Errors
/// What the kernel says of the options, for example EINVAL on a socket that was reset already.
pub fn tune<'a>(socket: impl Into<SockRef<'a>>) -> io::Result<()> {
    let socket = socket.into();
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(120))
        .with_interval(Duration::from_secs(30))
        .with_retries(4);
    socket.set_tcp_keepalive(&keepalive)
}

/// Bytes that the kernel takes of a connection of [`send_late`] before it can send them.
const LEAST_UNSENT: u32 = 128 * 1024;

/// The kernel takes little more than it can send at once (TCP_NOTSENT_LOWAT, tcp(7)): on a
/// connection of many, what is urgent should not stand behind megabytes of one of them.
pub fn send_late(socket: &TcpStream) {
    // It only costs time where the kernel does not know it.
    let _ = SockRef::from(socket).set_tcp_notsent_lowat(LEAST_UNSENT);
}

/// In IPv6, EADDRNOTAVAIL means that there is a route and no address of ours to take it
/// (ipv6_dev_get_saddr): no shortage, which [`is_shortage`] would take it for.
fn no_source(error: io::Error, address: SocketAddr) -> io::Error {
    if error.kind() == io::ErrorKind::AddrNotAvailable && address.is_ipv6() {
        return io::Error::new(error.kind(), "no local address to reach it from");
    }
    error
}

/// Whether the kernel has run out of something that it needs for one more connection: descriptors,
/// memory, room in epoll (fs.epoll.max_user_watches), local ports. No peer is to blame for it.
pub fn is_shortage(error: &io::Error) -> bool {
    use nix::libc::{EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC};
    let shortage = [EMFILE, ENFILE, ENOMEM, ENOBUFS, ENOSPC, EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|number| shortage.contains(&number))
}

/// The same without what one destination may run out of: local ports.
pub fn is_no_memory_or_descriptor(error: &io::Error) -> bool {
    is_shortage(error) && error.raw_os_error() != Some(nix::libc::EADDRNOTAVAIL)
}

/// Whether this kernel speaks IPv6 at all (`ipv6.disable=1` on its command line: it does not).
pub fn has_ipv6() -> bool {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP));
    !socket.is_err_and(|error| error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT))
}

/// Whether this is an address of this machine.
pub fn is_own(address: IpAddr) -> bool {
    // Only there can something be bound (unless net.ipv4.ip_nonlocal_bind is set).
    let domain = Domain::for_address(SocketAddr::new(address, 0));
    Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))
        .and_then(|socket| socket.bind(&SocketAddr::new(address, 0).into()))
        .is_ok()
}

/// Sends a FIN and leaves the other direction open (shutdown(2), SHUT_WR).
///
/// # Errors
/// ENOTCONN: the peer has reset the connection.
pub fn finish(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).shutdown(Shutdown::Write)
}

/// Whoever drops this before [`disarm`](Self::disarm) turns the close of these connections into a
/// reset: what is cut in the middle must not look like an orderly end.
#[derive(Debug)]
pub struct ResetOnDrop<'a, const N: usize>([Option<&'a TcpStream>; N]);

impl<'a, const N: usize> ResetOnDrop<'a, N> {
    /// Watches over these.
    pub fn new(streams: [&'a TcpStream; N]) -> Self {
        ResetOnDrop(streams.map(Some))
    }

    /// They close in order.
    pub fn disarm(mut self) {
        self.0 = [None; N];
    }
}

impl<const N: usize> Drop for ResetOnDrop<'_, N> {
    fn drop(&mut self) {
        for stream in self.0.into_iter().flatten() {
            reset_on_close(stream);
        }
    }
}

/// Closes a connection by a reset instead of a FIN (SO_LINGER of zero, socket(7)), so that the
/// program at the other end sees an error and not an orderly end.
pub fn reset(stream: TcpStream) {
    reset_on_close(&stream);
    drop(stream);
}

/// The same, once the connection is closed.
pub fn reset_on_close(stream: &TcpStream) {
    // A socket that is gone already needs no reset: the result carries no news.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Takes [`reset_on_close`] back.
pub fn finish_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(None);
}
