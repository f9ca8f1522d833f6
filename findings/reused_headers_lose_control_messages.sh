#!/bin/sh
# Headers for recvmmsg(2) that are used again lose control messages of the next call.
#
# A receiver of UDP trains (UDP_GRO, udp(7)) gets the length of their datagrams beside the bytes, in a control
# message; a datagram that came alone has none. The crate nix makes the headers once, for many calls
# (MultiHeaders::preallocate). One would expect each call to offer the room that they were made with.
#
# The kernel writes into each header how much of the room it used (recvmsg(2), msg_controllen), and the crate
# does not write the full length back. After a datagram that came alone the header offers no room at all: the
# next train in it arrives whole, but its control message is cut (MSG_CTRUNC), and cmsgs() is an error. New
# headers have no such trouble. It does no harm where every datagram has control messages of one size.
#
# Output seen (nix 0.31.3, Linux 6.18.44, amd64):
#   alone: no control message
#   train, same headers: ENOBUFS
#   train, new headers: datagrams of 100 bytes
#
# Needs: cargo and its registry. Sends to 127.0.0.1 only.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "seen"
version = "0.0.0"
edition = "2021"

[dependencies]
nix = { version = "=0.31.3", features = ["net", "socket", "uio"] }
TOML
cat >"$folder/src/main.rs" <<'RUST'
use nix::sys::socket::*;
use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

type Headers = MultiHeaders<SockaddrIn>;

fn new_headers() -> Headers {
    MultiHeaders::preallocate(1, Some(nix::cmsg_space!(i32)))
}

fn receive(socket: &UdpSocket, headers: &mut Headers) -> String {
    let mut buffer = [0; 4096];
    let mut pieces = [[IoSliceMut::new(&mut buffer)]];
    let flags = MsgFlags::empty();
    let mut messages =
        recvmmsg(socket.as_raw_fd(), headers, pieces.iter_mut(), flags, None).unwrap();
    let message = messages.next().unwrap();
    let controls = message.cmsgs().map(|mut controls| controls.next());
    match controls {
        Ok(Some(ControlMessageOwned::UdpGroSegments(length))) => {
            format!("datagrams of {length} bytes")
        }
        Ok(None) => "no control message".into(),
        Ok(Some(other)) => format!("{other:?}"),
        Err(error) => format!("{error:?}"),
    }
}

fn main() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    setsockopt(&receiver, sockopt::UdpGroSegment, &true).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    let train = || {
        let (bytes, control) = ([0; 300], [ControlMessage::UdpGsoSegments(&100)]);
        let piece = [IoSlice::new(&bytes)];
        sendmsg::<()>(sender.as_raw_fd(), &piece, &control, MsgFlags::empty(), None).unwrap();
    };
    let mut headers = new_headers();
    sender.send(&[0; 100]).unwrap();
    println!("alone: {}", receive(&receiver, &mut headers));
    train();
    println!("train, same headers: {}", receive(&receiver, &mut headers));
    train();
    println!("train, new headers: {}", receive(&receiver, &mut new_headers()));
}
RUST
(cd "$folder" && cargo run --quiet >seen)
cat "$folder/seen"
printf '%s\n' 'alone: no control message' 'train, same headers: ENOBUFS' \
    'train, new headers: datagrams of 100 bytes' | diff - "$folder/seen"
