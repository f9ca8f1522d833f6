#!/bin/sh
# From a fresh clone to a proof on this very kernel: installs the firewall tools when root (names
# them when not), builds the release binary, runs its selftest. Changes nothing else: the selftest
# runs in namespaces of its own.
set -eu

cd -- "$(CDPATH='' dirname -- "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin
export PATH

absent=
for tool in iptables:iptables ip6tables:iptables ipset:ipset ip:iproute2; do
    command -v "${tool%%:*}" >/dev/null || absent="$absent ${tool##*:}"
done
if [ -n "$absent" ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "Not installed:$absent. Please run as root, or find the like for your distribution:" >&2
        echo "    apt-get install -y --no-install-recommends iptables ipset iproute2" >&2
        exit 1
    fi
    echo "Installing iptables ipset iproute2"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    apt-get install -y --no-install-recommends iptables ipset iproute2
fi

if ! command -v cargo >/dev/null; then
    echo "cargo is not installed: see https://rustup.rs" >&2
    exit 1
fi
cargo build --release
exec ./target/release/snet selftest
