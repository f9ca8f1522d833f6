#!/bin/sh
# Measures snet beside the programs it wants to replace, on this machine, now.
#
#   scripts/bench.sh [--quick] [--rounds N] [--seconds N] [--only TEXT] [--peers NAME,NAME]
#                    [--snet FILE] [--beside FILE] [--load FILE]
#
# It builds a little internet of network namespaces and runs every contestant in it in turn, round
# by round, against the same servers. No root is needed and nothing of this machine's network is
# touched. What is not installed is named and left out. About ten minutes; --quick takes two.
#
#   --delay MS     other rows: how long a user waits on a path of so many milliseconds each way;
#                  75 is a server on the other side of the world. --loss N drops N % of the packets
#   --only TEXT    only the rows whose name contains TEXT
#   --peers NAMES  only these peers, for example sslocal,redsocks
#   --snet FILE    an executable to measure; the default is built here
#   --beside FILE  another executable of snet, measured as one more peer
#   --load FILE    the load of the UDP rows (examples/udp-load); the default is built here
#
# While changing something, short rounds of one row beside the state before say most on a noisy
# machine: --only "connections, HTTP" --peers redsocks --rounds 9 --seconds 1 --beside OLD
set -eu

here=$(cd "$(dirname "$0")" && pwd)
snet= load=
for argument; do
    case ${previous:-} in --snet) snet=$argument ;; --load) load=$argument ;; esac
    previous=$argument
done

missing=
need() { command -v "$1" >/dev/null || missing="$missing $2"; }
PATH=$PATH:/usr/sbin:/sbin
need python3 python3
need unshare util-linux
need ip iproute2
need iptables iptables
need ipset ipset
need iperf3 iperf3
need wrk wrk
need nginx nginx-light
need dnsmasq dnsmasq
need dnsperf dnsperf
if [ -n "$missing" ]; then
    echo "not installed:$missing" >&2
    echo "  apt install$missing" >&2
    exit 69
fi
built=${CARGO_TARGET_DIR:-$here/../target}/release
if [ -z "$snet" ]; then
    (cd "$here/.." && cargo build --release --quiet)
    set -- "$@" --snet "$built/snet"
fi
if [ -z "$load" ]; then
    (cd "$here/.." && cargo build --release --quiet --example udp-load)
    set -- "$@" --load "$built/examples/udp-load"
fi
export PATH
exec unshare --user --map-root-user --net --mount --pid --fork --mount-proc --kill-child -- \
    python3 -B "$here/bench/run.py" "$@"
