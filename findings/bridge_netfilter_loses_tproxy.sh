#!/bin/sh
# TPROXY takes a datagram from a bridge, and nobody gets it, if br_netfilter is on.
#
# A host on a bridge sends a datagram through the machine; a TPROXY rule in mangle PREROUTING leads it to a
# listener. With net.bridge.bridge-nf-call-iptables=1, which Docker and Kubernetes set, one would expect the same,
# since the rule stands in the same chain and its counter shows that it matched.
#
# With the setting, the hooks of IP run while the frame is still in the bridge (net/bridge/br_netfilter_hooks.c),
# and are not run again when the packet comes up. TPROXY's result is the socket that it puts on the packet, and
# that is taken off on the way up (skb_orphan in ip_rcv_core). What is left is a datagram for no socket of this
# machine. No rule sees that it is lost.
#
# Output seen (Linux 6.18.44, iptables 1.8.9-2 (nf_tables), Debian 12, amd64):
#   bridge-nf-call-iptables=0: 1 matched, arrived
#   bridge-nf-call-iptables=1: 1 matched, lost
#
# Needs: Debian's archive, python3, unshare(1) with user namespaces, the module br_netfilter. Sends nothing
# outside of them.
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
    XTABLES_LIBDIR=$(dirname "$(find "$folder" -name 'libxt_TPROXY.so' | head -n 1)")
    export LD_LIBRARY_PATH XTABLES_LIBDIR
    unshare -Urnm sh "$0" inside >"$folder/seen"
    cat "$folder/seen"
    printf '%s\n' 'bridge-nf-call-iptables=0: 1 matched, arrived' \
        'bridge-nf-call-iptables=1: 1 matched, lost' | diff - "$folder/seen"
    exit
fi

mount -t tmpfs none /run
ip link set lo up
ip netns add host
ip link add br0 type bridge
ip link add port type veth peer name eth0 netns host
ip link set port master br0 up
ip link set br0 up
ip address add 192.168.50.1/24 dev br0
ip -n host link set eth0 up
ip -n host address add 192.168.50.10/24 dev eth0
ip -n host route add default via 192.168.50.1
ip rule add fwmark 1 lookup 100
ip route add local default dev lo table 100
echo 1 >/proc/sys/net/ipv4/ip_forward
"$TOOL" iptables -t mangle -A PREROUTING -p udp -d 203.0.113.1 -j TPROXY --on-ip 127.0.0.1 --on-port 1311 \
    --tproxy-mark 1

cat >/run/send.py <<'PYTHON'
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("203.0.113.1", 9))
PYTHON

for setting in 0 1; do
    echo "$setting" >/proc/sys/net/bridge/bridge-nf-call-iptables
    "$TOOL" iptables -t mangle -Z PREROUTING
    arrived=$(python3 - <<'PYTHON'
import socket, subprocess
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT
listener.bind(("127.0.0.1", 1311))
listener.settimeout(2)
subprocess.run(["ip", "netns", "exec", "host", "python3", "/run/send.py"], check=True)
try:
    listener.recv(100)
    print("arrived")
except TimeoutError:
    print("lost")
PYTHON
)
    matched=$("$TOOL" iptables -t mangle -nvxL PREROUTING | awk '/TPROXY/ { print $1 }')
    echo "bridge-nf-call-iptables=$setting: $matched matched, $arrived"
done
