#!/bin/sh
# Linux: memory.kmem.tcp.limit_in_bytes of a cgroup (first version) drops datagrams of UDP.
#
# Documentation/admin-guide/cgroup-v1/memory.rst has it as a "hard limit for tcp buf memory". One would expect
# that a program of the cgroup whose connections have filled it has slow connections, and that its UDP sockets
# are not concerned.
#
# What happens: once the limit is set, the kernel counts the buffers of every socket that the cgroup opens
# against it (mem_cgroup_sk_alloc() in mm/memcontrol.c asks for no protocol). TCP goes beyond it and then only
# grows no more, while a datagram that cannot be counted is dropped on receipt. So connections that nobody
# reads take all datagrams from the whole cgroup, until they are closed. Nothing is killed, and sends succeed.
#
# Output seen with Linux 6.18.44 and Python 3.11 (release and bytes are printed):
#
#   fresh: 20 of 20 datagrams come
#   the limit is 1048576 bytes, and connections that nobody reads take more
#   then: 0 of 20 datagrams come
#   the connections are closed: 20 of 20 datagrams come
#
# Needs python3, root, and the controller of memory in a hierarchy of the first version. Sends to loopback
# alone, in a network namespace of its own. Fails if any of this is otherwise.
set -eu

uname -r
hierarchy=$(awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ { print $2; exit }' /proc/mounts)
if [ -z "$hierarchy" ] || [ "$(id -u)" -ne 0 ]; then
    echo "needs root, and cgroups of the first version with memory" >&2
    exit 77
fi
group=$hierarchy/finding-$$
mkdir "$group"
trap 'rmdir "$group"' EXIT
echo 1048576 >"$group/memory.kmem.tcp.limit_in_bytes"
unshare --net sh -eu -c 'ip link set lo up; exec python3 - "$1"' sh "$group" <<'PYTHON'
import pathlib
import socket
import sys

group = pathlib.Path(sys.argv[1])
(group / "cgroup.procs").write_text("0")
failed = False


def look(what, expected):
    """How many of 20 datagrams come."""
    global failed
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inbox:
        inbox.bind(("127.0.0.1", 0))
        inbox.settimeout(0.2)
        heard = 0
        for _ in range(20):
            inbox.sendto(b"x" * 100, inbox.getsockname())
            try:
                inbox.recv(200)
                heard += 1
            except TimeoutError:
                pass
    print(f"{what}: {heard} of 20 datagrams come")
    failed |= heard != expected


look("fresh", 20)
server = socket.create_server(("127.0.0.1", 0))
connections = []
for _ in range(16):
    client = socket.create_connection(server.getsockname())
    client.setblocking(False)
    connections += [client, server.accept()[0]]
    try:
        for _ in range(200):
            client.send(bytes(65536))
    except BlockingIOError:
        pass
taken = int((group / "memory.kmem.tcp.usage_in_bytes").read_text())
print(f"the limit is 1048576 bytes, and connections that nobody reads take {taken}")
failed |= taken < 1048576
look("then", 0)
for connection in connections:
    connection.close()
look("the connections are closed", 20)
sys.exit(failed)
PYTHON
