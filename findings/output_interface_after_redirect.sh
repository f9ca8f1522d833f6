#!/bin/sh
# "-o lo" in filter OUTPUT does not match a packet that nat OUTPUT has redirected to this machine.
#
# A program dials a foreign address; REDIRECT leads it to a server on 127.0.0.1. filter OUTPUT comes behind nat
# OUTPUT: it sees the new destination, 127.0.0.1. One would expect that it sees the new way, too, so that the
# usual "-A OUTPUT -o lo -j ACCEPT" of a firewall with policy DROP lets the packet pass.
#
# It does not: the interface of a hook's walk is that of its beginning. The first packet is shown with the
# interface of the default route and the destination 127.0.0.1 at once, "-o lo" never matches it, and such a
# firewall drops it. Only POSTROUTING shows "lo".
#
# Output seen (Linux 6.18.44, iptables 1.8.9-2, both variants, Debian 12, amd64):
#   xtables-nft-multi: OUTPUT -o lo 0, OUTPUT -o uplink to 127.0.0.1 1, POSTROUTING -o lo 1
#   xtables-legacy-multi: OUTPUT -o lo 0, OUTPUT -o uplink to 127.0.0.1 1, POSTROUTING -o lo 1
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
    export FOLDER="$folder/usr/sbin"
    LD_LIBRARY_PATH=$(dirname "$(find "$folder" -name 'libxtables.so.12' | head -n 1)")
    XTABLES_LIBDIR=$(dirname "$(find "$folder" -name 'libxt_conntrack.so' | head -n 1)")
    export LD_LIBRARY_PATH XTABLES_LIBDIR
    for variant in xtables-nft-multi xtables-legacy-multi; do
        unshare -Urnm sh "$0" inside "$variant"
    done >"$folder/seen"
    cat "$folder/seen"
    for variant in xtables-nft-multi xtables-legacy-multi; do
        echo "$variant: OUTPUT -o lo 0, OUTPUT -o uplink to 127.0.0.1 1, POSTROUTING -o lo 1"
    done | diff - "$folder/seen"
    exit
fi

# The lock of the legacy variant is in /run.
mount -t tmpfs none /run
ip link set lo up
ip link add uplink type veth peer name far
ip addr add 192.0.2.1/24 dev uplink
ip link set uplink up
ip link set far up
ip neigh add 192.0.2.254 lladdr 02:00:00:00:00:01 dev uplink
ip route add default via 192.0.2.254

tool() { "$FOLDER/$variant" iptables "$@"; }
variant=$2
syn='-p tcp --syn --dport 1080'
tool -t nat -A OUTPUT -p tcp -d 198.51.100.1 --dport 80 -j REDIRECT --to-ports 1080
tool -A OUTPUT $syn -o lo
tool -A OUTPUT $syn -o uplink -d 127.0.0.1
tool -t mangle -A POSTROUTING $syn -o lo
python3 - <<'PYTHON'
import socket
server = socket.create_server(("127.0.0.1", 1080))
client = socket.create_connection(("198.51.100.1", 80), 2)
server.accept()
PYTHON
counted() { tool -t "$1" -nvxL "$2" "$3" | awk '{ print $1 }'; }
echo "$variant: OUTPUT -o lo $(counted filter OUTPUT 1)," \
    "OUTPUT -o uplink to 127.0.0.1 $(counted filter OUTPUT 2)," \
    "POSTROUTING -o lo $(counted mangle POSTROUTING 1)"
