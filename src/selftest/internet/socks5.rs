//! A SOCKS5 server (RFC 1928) that wants a user name and a password (RFC 1929), for TCP and UDP.

use super::dial;
use crate::proxy::address;
use crate::selftest::world;
use crate::target::Target;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

const VERSION: u8 = 5;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const UDP_ASSOCIATE: u8 = 3;
const COMMAND_NOT_SUPPORTED: u8 = 7;

/// The longest request: one with a name.
const LONGEST: usize = 3 + 1 + 1 + 255 + 2;

/// Serves a client; its datagrams are taken at `datagrams`.
pub(super) async fn serve(mut client: TcpStream, datagrams: SocketAddr) -> io::Result<()> {
    let [_, offered] = two(&mut client).await?;
    let mut methods = vec![0; offered.into()];
    client.read_exact(&mut methods).await?;
    if !methods.contains(&PASSWORD) {
        return client.write_all(&[VERSION, 0xff]).await;
    }
    client.write_all(&[VERSION, PASSWORD]).await?;
    let [_, length] = two(&mut client).await?;
    let name = text(&mut client, length).await?;
    let length = client.read_u8().await?;
    let password = text(&mut client, length).await?;
    let is_right = (name.as_slice(), password.as_slice()) == (b"self", world::PASSWORD.as_bytes());
    client.write_all(&[1, u8::from(!is_right)]).await?;
    if !is_right {
        return Ok(());
    }
    let (command, target) = request(&mut client).await?;
    match command {
        CONNECT => {
            let mut site = dial(&target).await?;
            reply(&mut client, 0, site.local_addr()?).await?;
            copy_bidirectional(&mut client, &mut site).await.map(drop)
        }
        UDP_ASSOCIATE => {
            reply(&mut client, 0, datagrams).await?;
            // It lives for as long as this connection; the next thing to be heard is its end.
            client.read(&mut [0]).await.map(drop)
        }
        _ => reply(&mut client, COMMAND_NOT_SUPPORTED, datagrams).await,
    }
}

async fn request(client: &mut TcpStream) -> io::Result<(u8, Target)> {
    let mut lead = [0; 3];
    client.read_exact(&mut lead).await?;
    let mut bytes = Vec::new();
    loop {
        if let Some((target, _)) = address::decode(&bytes) {
            return Ok((lead[1], target));
        }
        if bytes.len() > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.push(client.read_u8().await?);
    }
}

async fn reply(client: &mut TcpStream, code: u8, bound: SocketAddr) -> io::Result<()> {
    let mut message = vec![VERSION, code, 0];
    address::append(&Target::addr(bound), &mut message)?;
    client.write_all(&message).await
}

async fn two(client: &mut TcpStream) -> io::Result<[u8; 2]> {
    let mut bytes = [0; 2];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn text(client: &mut TcpStream, length: u8) -> io::Result<Vec<u8>> {
    let mut text = vec![0; length.into()];
    client.read_exact(&mut text).await?;
    Ok(text)
}
