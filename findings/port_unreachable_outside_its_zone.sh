#!/bin/sh
# ICMP "port unreachable" about a UDP datagram of another conntrack zone.
#
# A rule in raw puts UDP queries into a conntrack zone of their own, and nat redirects them to a server on
# this machine. The client closes its socket; then the server answers. One would expect that the kernel's
# "port unreachable" about that answer belongs to the same connection, is translated as the answer was, and
# stays on this machine.
#
# It does not. The message is in the default zone, where conntrack knows no such connection: its state is
# INVALID, nothing translates it, and it LEAVES by the uplink for the address that the client had asked,
# with the beginning of the answer quoted in it. Without the zone it stays (state RELATED).
#
# Output seen (Linux 6.18.44, nftables 1.0.6-2+deb12u2, Debian 12, amd64):
#   with a zone: 1 left by the uplink (state invalid: 1)
#   without a zone: 0 left by the uplink (state invalid: 0)
#
# Needs: Debian's archive, python3, unshare(1) with user namespaces. Sends nothing outside of them.
set -eu

nftables=1.0.6-2+deb12u2
if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (
        cd "$folder"
        for package in nftables libnftables1; do
            apt-get -qq -o APT::Sandbox::User=root download "$package=$nftables" >/dev/null
        done
        for file in ./*.deb; do dpkg -x "$file" .; done
    )
    export NFT="$folder/usr/sbin/nft"
    LD_LIBRARY_PATH=$(dirname "$(find "$folder" -name 'libnftables.so.1' | head -n 1)")
    export LD_LIBRARY_PATH
    # Not a pipe: its result counts.
    unshare -Urnm sh "$0" inside >"$folder/seen"
    cat "$folder/seen"
    printf '%s\n' \
        'with a zone: 1 left by the uplink (state invalid: 1)' \
        'without a zone: 0 left by the uplink (state invalid: 0)' | diff - "$folder/seen"
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
    "$NFT" -f - <<RULES
flush ruleset
table ip trial {
    counter left { }
    counter invalid { }
    chain early { type filter hook output priority raw; $1; }
    chain to_server {
        type nat hook output priority -100
        ip daddr 198.51.100.1 udp dport 53 redirect to :1053
    }
    chain late {
        type filter hook postrouting priority 300
        oifname uplink ip protocol icmp counter name left
        oifname uplink ip protocol icmp ct state invalid counter name invalid
    }
}
RULES
    python3 - <<'PYTHON'
import socket, time
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 1053))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.sendto(b"question", ("198.51.100.1", 53))
_, asker = server.recvfrom(100)
client.close()
server.sendto(b"answer", asker)
time.sleep(0.3)
PYTHON
    left=$("$NFT" list counter ip trial left | sed -n 's/.*packets \([0-9]*\).*/\1/p')
    invalid=$("$NFT" list counter ip trial invalid | sed -n 's/.*packets \([0-9]*\).*/\1/p')
    echo "$left left by the uplink (state invalid: $invalid)"
}

echo "with a zone: $(try 'udp dport 53 ct zone set 7; udp sport 1053 ct zone set 7')"
echo "without a zone: $(try 'udp dport 53 counter')"
