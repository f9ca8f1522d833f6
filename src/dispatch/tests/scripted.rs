//! A proxy that does what a test says.

use super::super::*;
use crate::mark::Fwmark;
use crate::net::{Outbound, Refusal};
use crate::proxy;
use crate::proxy::HalfClose;
use crate::proxy::shadowsocks::cipher::master_key::MasterKey;
use crate::proxy::shadowsocks::cipher::method::Method;
use crate::proxy::shadowsocks::datagram::SaltedDatagrams;
use crate::secret::Secret;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::sleep;

/// What a proxy does with a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Connect,
    RefuseTcp,
    RefuseCredentials,
    SpeakAnotherProtocol,
    BreakOff,
    /// The proxy works, and does not reach the destination.
    RefuseTarget,
    /// The proxy works, and does not allow the destination.
    ForbidTarget,
    /// This process has no descriptor left.
    RunOutOfDescriptors,
    /// TCP to the server does not come to stand.
    StaySilent,
    /// It stands, and no answer comes.
    StaySilentBehindTcp,
    /// It connects after so long, and destinations answer at once.
    Answer(Duration),
    /// It connects, and destinations say this after so long.
    Say(&'static str, Duration),
    /// It connects, and nothing ever comes back.
    StayMute,
    /// It is sent the first bytes with the request, and no answer comes.
    TakeBytesAndStaySilent,
    /// The same, and its connection breaks.
    TakeBytesAndBreak,
    /// The same, and it does not reach the destination.
    TakeBytesAndRefuse,
    /// It connects, and no name server answers; others say something.
    StayMuteForNames,
}

#[derive(Debug)]
pub(super) struct ScriptedProxy {
    pub(super) name: &'static str,
    pub(super) act: Arc<Mutex<Act>>,
    pub(super) dials: Arc<AtomicUsize>,
}

impl Proxy for ScriptedProxy {
    fn name(&self) -> &str {
        self.name
    }

    /// All but "a" carry UDP.
    fn carries_datagrams(&self) -> bool {
        self.name != "a"
    }

    fn associate(&self) -> proxy::BoxFuture<'_, Result<Association, proxy::Error>> {
        let act = *self.act.lock().unwrap();
        Box::pin(async move {
            let failed = |source| proxy::Error::Dial { server: self.name.to_owned(), source };
            match act {
                Act::Connect => {}
                Act::RunOutOfDescriptors => {
                    return Err(failed(io::Error::from_raw_os_error(nix::libc::EMFILE)));
                }
                _ => return Err(failed(io::ErrorKind::NetworkUnreachable.into())),
            }
            let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
            let socket = outbound.udp("127.0.0.1:9".parse().unwrap()).await.map_err(failed)?;
            let key = MasterKey::new(Method::Aes128Gcm, &Secret::new("secret")).unwrap();
            let codec = Box::new(SaltedDatagrams::new(key));
            Ok(Association { socket, codec, lifeline: None })
        })
    }

    fn connect_carrying<'a>(
        &'a self,
        target: &'a Target,
        progress: &'a Progress,
        payload: &'a FirstPayload<'a>,
    ) -> proxy::BoxFuture<'a, Result<Link, proxy::Error>> {
        if matches!(
            *self.act.lock().unwrap(),
            Act::TakeBytesAndStaySilent | Act::TakeBytesAndBreak | Act::TakeBytesAndRefuse
        ) {
            assert!(payload.leaves(5), "it may");
        }
        if *self.act.lock().unwrap() == Act::TakeBytesAndRefuse {
            payload.was_refused();
        }
        self.connect(target, progress)
    }

    fn connect<'a>(
        &'a self,
        target: &'a Target,
        progress: &'a Progress,
    ) -> proxy::BoxFuture<'a, Result<Link, proxy::Error>> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let (server, act) = (self.name.to_owned(), *self.act.lock().unwrap());
        let is_name_server = target.address().is_some_and(|it| it.port() == 53);
        Box::pin(async move {
            Err(match act {
                Act::Answer(after) => {
                    sleep(after).await;
                    let (stream, destination) = tokio::io::duplex(1024);
                    tokio::spawn(answer(destination));
                    let stream = Box::new(stream);
                    return Ok(Link::Stream { stream, half_close: HalfClose::Forwarded });
                }
                Act::Say(words, after) => {
                    let (stream, mut destination) = tokio::io::duplex(1024);
                    tokio::spawn(async move {
                        let _ = destination.read(&mut [0; 512]).await;
                        sleep(after).await;
                        let _ = destination.write_all(words.as_bytes()).await;
                    });
                    let stream = Box::new(stream);
                    return Ok(Link::Stream { stream, half_close: HalfClose::Forwarded });
                }
                Act::StayMute => {
                    let (stream, destination) = tokio::io::duplex(1024);
                    tokio::spawn(hold(destination));
                    let stream = Box::new(stream);
                    return Ok(Link::Stream { stream, half_close: HalfClose::Forwarded });
                }
                Act::StayMuteForNames => {
                    let (stream, destination) = tokio::io::duplex(1024);
                    match is_name_server {
                        true => tokio::spawn(hold(destination)),
                        false => tokio::spawn(speak(destination)),
                    };
                    let stream = Box::new(stream);
                    return Ok(Link::Stream { stream, half_close: HalfClose::Forwarded });
                }
                Act::Connect => {
                    let stream = Box::new(tokio::io::duplex(1).0);
                    return Ok(Link::Stream { stream, half_close: HalfClose::Forwarded });
                }
                Act::RefuseTcp => {
                    let source = io::ErrorKind::ConnectionRefused.into();
                    proxy::Error::Dial { server, source }
                }
                Act::RefuseCredentials => {
                    proxy::Error::Credentials { server, status: "407".into() }
                }
                Act::SpeakAnotherProtocol => {
                    let found = "SSH".into();
                    proxy::Error::Protocol { server, expected: "HTTP CONNECT", found }
                }
                Act::BreakOff => {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    proxy::Error::Handshake { server, source }
                }
                Act::TakeBytesAndBreak => {
                    let (target, source) = (target.to_string(), io::ErrorKind::TimedOut.into());
                    proxy::Error::Unanswered { server, target, source }
                }
                Act::RefuseTarget | Act::TakeBytesAndRefuse => {
                    let (target, status) = (target.to_string(), "503".into());
                    proxy::Error::Target { server, target, status }
                }
                Act::ForbidTarget => {
                    let (target, status) = (target.to_string(), "403".into());
                    proxy::Error::Refused { server, target, status, hint: String::new() }
                }
                Act::RunOutOfDescriptors => {
                    let source = io::Error::from_raw_os_error(nix::libc::EMFILE);
                    proxy::Error::Dial { server, source }
                }
                Act::StaySilent => std::future::pending().await,
                Act::StaySilentBehindTcp | Act::TakeBytesAndStaySilent => {
                    progress.server_is_reached();
                    std::future::pending().await
                }
            })
        })
    }
}

/// A name server: answers each query over TCP by its own words.
async fn answer(mut client: DuplexStream) {
    let mut length = [0; 2];
    while client.read_exact(&mut length).await.is_ok() {
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        if client.read_exact(&mut query).await.is_err()
            || client.write_all(&[&length[..], &query].concat()).await.is_err()
        {
            return;
        }
    }
}

/// Answers whatever it hears.
async fn speak(mut client: DuplexStream) {
    let _ = client.read(&mut [0; 16]).await;
    let _ = client.write_all(b"hello").await;
    hold(client).await;
}

/// Takes what comes and says nothing.
async fn hold(mut client: DuplexStream) {
    let _ = tokio::io::copy(&mut client, &mut tokio::io::sink()).await;
}
