#!/bin/sh
# Linux: setting SO_RCVLOWAT makes an edge-triggered epoll tell again of bytes that it has told of.
#
# An edge-triggered epoll (EPOLLET, epoll(7)) tells once of bytes that have come, and again only when more
# come. Whoever only looks at them (MSG_PEEK) and hands the socket on to another reader of the same epoll
# therefore leaves that reader waiting for bytes that are there. One would expect setsockopt(2) SO_RCVLOWAT
# to change a threshold for later, of which later reads and polls know.
#
# What happens, on a TCP connection over loopback: setting it, even to the 1 that it is by default, signals
# the bytes that wait (tcp_set_rcvlowat() in net/ipv4/tcp.c calls tcp_data_ready()), and epoll tells of them
# once more. Setting it to more than waits tells nothing, and further bytes below the mark tell nothing
# either; those that reach it do.
#
# Output seen with Linux 6.18.44 and Python 3.11 (the release is printed):
#
#   bytes came: told
#   looked at: silent
#   SO_RCVLOWAT = 1, as it was: told
#   SO_RCVLOWAT = 100, 10 are there: silent
#   5 more: silent
#   100 more: told
#
# Needs python3. Fails if any of this is otherwise.
set -eu

uname -r
python3 - <<'PYTHON'
import select
import socket
import sys

server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
served, _ = server.accept()
served.setblocking(False)
epoll = select.epoll()
epoll.register(served, select.EPOLLIN | select.EPOLLET)
failed = False


def look(what, expected):
    global failed
    found = "told" if epoll.poll(0.5) else "silent"
    print(f"{what}: {found}")
    failed |= found != expected


client.sendall(b"0123456789")
look("bytes came", "told")
served.recv(5, socket.MSG_PEEK)
look("looked at", "silent")
served.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
look("SO_RCVLOWAT = 1, as it was", "told")
served.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 100)
look("SO_RCVLOWAT = 100, 10 are there", "silent")
client.sendall(b"01234")
look("5 more", "silent")
client.sendall(b"x" * 100)
look("100 more", "told")
sys.exit(failed)
PYTHON
