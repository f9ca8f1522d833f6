#!/bin/sh
# REDIRECT does not only change where a connection goes: it may also change the port it comes from.
#
# A program connects from one local port to two destinations, which is ordinary: the kernel itself hands out
# a port again for another destination. Both connections are redirected to one listener. One would expect
# that accept(2) tells the program's address and port for both, since nothing asks for source NAT.
#
# After REDIRECT both would have the same two ends, so conntrack gives the second one another source port,
# drawn at random. accept(2) tells that one, and who looks for a socket with it (sock_diag, /proc/net/tcp,
# lsof) finds nobody, or somebody else. SO_ORIGINAL_DST still tells both destinations rightly.
#
# Output seen (Linux 6.18.44, iptables 1.8.9-2 (nf_tables), Debian 12, amd64):
#   first: from the program's port, to 198.51.100.1
#   second: from another port, to 198.51.100.2
#
# Needs: Debian's archive, python3, unshare(1) with user namespaces. Sends nothing outside of them.
set -eu

if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (
        cd "$folder"
        for package in iptables libxtables12 libip4tc2 libip6tc2; do
            apt-get -qq -o APT::Sandbox::User=root download "$package=1.8.9-2" >/dev/null
        done
        for file in ./*.deb; do dpkg -x "$file" .; done
    )
    export TOOL="$folder/usr/sbin/xtables-nft-multi"
    LD_LIBRARY_PATH=$(dirname "$(find "$folder" -name 'libxtables.so.12' | head -n 1)")
    XTABLES_LIBDIR=$(dirname "$(find "$folder" -name 'libxt_conntrack.so' | head -n 1)")
    export LD_LIBRARY_PATH XTABLES_LIBDIR
    unshare -Urnm sh "$0" inside >"$folder/seen"
    cat "$folder/seen"
    printf '%s\n' "first: from the program's port, to 198.51.100.1" \
        'second: from another port, to 198.51.100.2' | diff - "$folder/seen"
    exit
fi

ip link set lo up
ip route add local 198.51.100.0/24 dev lo
"$TOOL" iptables -t nat -A OUTPUT -p tcp -d 198.51.100.0/24 -j REDIRECT --to-ports 1080

python3 - <<'PYTHON'
import socket, struct
SO_ORIGINAL_DST = 80
server = socket.create_server(("127.0.0.1", 1080))
server.settimeout(5)
living = []
for name, destination in ("first", "198.51.100.1"), ("second", "198.51.100.2"):
    client = socket.socket()
    client.settimeout(5)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.bind(("127.0.0.1", 40000))
    client.connect((destination, 80))
    accepted, (_, port) = server.accept()
    original = accepted.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
    seen = "the program's port" if port == 40000 else "another port"
    print(f"{name}: from {seen}, to {socket.inet_ntoa(struct.unpack('!4x4s', original[:8])[0])}")
    living += client, accepted
PYTHON
