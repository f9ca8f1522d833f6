#!/bin/sh
# iptables-nft: "-F" and then "-X" of one's own nat table ends the translation of connections that live.
#
# A connection was redirected by a rule in nat OUTPUT; another rule, in filter, uses conntrack. Somebody
# empties nat: "iptables -t nat -F", then "iptables -t nat -X". One would expect what ip_tables always did:
# -X deletes the chains that users have made, the built-in ones stay, and a living connection keeps its
# translation.
#
# -F alone leaves it alive. But -X without a name also deletes empty BUILT-IN chains in iptables-nft. With the
# last nat chain nat leaves the kernel's path, and the living connection is cut: its next packet goes to the
# address that the client had dialled.
#
# Output seen (Linux 6.18.44, iptables 1.8.9-2 (nf_tables), Debian 12, amd64):
#   after -F: alive
#   after -F and -X: cut
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
    printf '%s\n' 'after -F: alive' 'after -F and -X: cut' | diff - "$folder/seen"
    exit
fi

ip link set lo up
ip link add uplink type veth peer name far
ip addr add 192.0.2.1/24 dev uplink
ip link set uplink up
ip link set far up
ip neigh add 192.0.2.254 lladdr 02:00:00:00:00:01 dev uplink
ip route add default via 192.0.2.254

try() {
    "$TOOL" iptables -t filter -A OUTPUT -m conntrack --ctstate ESTABLISHED
    "$TOOL" iptables -t nat -A OUTPUT -p tcp -d 198.51.100.1 --dport 80 -j REDIRECT --to-ports 1080
    python3 - "$TOOL" "$@" <<'PYTHON'
import socket, subprocess, sys
tool, commands = sys.argv[1], sys.argv[2:]
server = socket.create_server(("127.0.0.1", 1080))
client = socket.create_connection(("198.51.100.1", 80), 2)
accepted, _ = server.accept()
for command in commands:
    subprocess.run([tool, "iptables", "-t", "nat", command], check=True)
client.sendall(b"still there?")
accepted.settimeout(2)
try:
    print("alive" if accepted.recv(100) else "ended")
except TimeoutError:
    print("cut")
PYTHON
    "$TOOL" iptables -t filter -F
}

echo "after -F: $(try -F)"
echo "after -F and -X: $(try -F -X)"
