//! A STUN client (RFC 8489) as far as the discovery of a NAT's behaviour needs it (RFC 5780).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// RFC 8489, section 5.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const HEADER: usize = 20;

const CHANGE_REQUEST: u16 = 0x0003;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const OTHER_ADDRESS: u16 = 0x802c;

/// A request is sent so many times, each with so long a wait.
const TRIES: u8 = 4;
const WAIT: Duration = Duration::from_millis(750);

/// From where the server shall answer: flags of CHANGE-REQUEST (RFC 5780, section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// From where it was asked.
    Asked = 0,
    /// From another port.
    OtherPort = 2,
    /// From another address and another port.
    OtherAddress = 6,
}

/// What the server says, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    pub from: SocketAddr,
    /// As whom it sees the client.
    pub mapped: SocketAddr,
    /// Its other address and its other port.
    pub other: SocketAddr,
}

/// Asks a server who the client is. `None`: no answer reaches it.
pub fn ask(socket: &UdpSocket, server: SocketAddr, from: From) -> Option<Binding> {
    for number in 0..TRIES {
        let request = request(number, from);
        socket.send_to(&request, server).ok()?;
        let deadline = Instant::now() + WAIT;
        while let Some(rest) = deadline.checked_duration_since(Instant::now()) {
            let rest = rest.max(Duration::from_millis(1));
            socket.set_read_timeout(Some(rest)).expect("a socket");
            let mut buffer = [0; 1500];
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { break };
            // An answer to an earlier try is of no use: it may be to another question.
            if let Some((mapped, other)) = read(&buffer[..length], &request[4..HEADER]) {
                return Some(Binding { from, mapped, other });
            }
        }
    }
    None
}

fn request(number: u8, from: From) -> Vec<u8> {
    let mut request = BINDING_REQUEST.to_be_bytes().to_vec();
    request.extend([0, 8]);
    request.extend(MAGIC_COOKIE);
    let mut transaction = [0; 12];
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("proc is mounted");
    transaction.copy_from_slice(&uuid.as_bytes()[..12]);
    transaction[11] = number;
    request.extend(transaction);
    request.extend(CHANGE_REQUEST.to_be_bytes());
    request.extend([0, 4, 0, 0, 0, from as u8]);
    request
}

/// XOR-MAPPED-ADDRESS and OTHER-ADDRESS of a success response to this transaction (which begins
/// with the cookie).
fn read(response: &[u8], transaction: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let is_answer = response.get(..2)? == BINDING_SUCCESS.to_be_bytes()
        && response.get(4..HEADER)? == transaction;
    let (mut mapped, mut other) = (None, None);
    let mut rest = response.get(HEADER..).filter(|_| is_answer)?;
    while rest.len() >= 4 {
        let kind = u16::from_be_bytes([rest[0], rest[1]]);
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let value = rest.get(4..4 + length)?;
        match kind {
            XOR_MAPPED_ADDRESS => mapped = address(value, transaction),
            OTHER_ADDRESS => other = address(value, &[0; 16]),
            _ => {}
        }
        // Attributes are padded to a multiple of four.
        rest = rest.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
    mapped.zip(other)
}

/// RFC 8489, sections 14.1 and 14.2: a family, and port and address under a mask.
fn address(value: &[u8], mask: &[u8]) -> Option<SocketAddr> {
    let unmasked = |range: std::ops::Range<usize>| -> Option<Vec<u8>> {
        Some(value.get(range)?.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect())
    };
    let port = u16::from_be_bytes(unmasked(2..4)?.try_into().ok()?);
    let ip: IpAddr = match value.get(1)? {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(unmasked(4..8)?).ok()?).into(),
        2 => Ipv6Addr::from(<[u8; 16]>::try_from(unmasked(4..20)?).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}
