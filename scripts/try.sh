#!/bin/sh
# From a fresh clone to a proof on this very kernel: installs the firewall tools when root (names
# them when not), builds the release binary, runs its selftest. Changes nothing else: the selftest
# runs in namespaces of its own.
set -eu

cd -- "$(CDPATH='' dirname -- "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin
export PATH

# The firewall tools, and the linker and C compiler that a Rust toolchain needs.
packages='iptables ipset iproute2 gcc libc6-dev'
absent=
for tool in iptables:iptables ip6tables:iptables ipset:ipset ip:iproute2 cc:gcc; do
    command -v "${tool%%:*}" >/dev/null || absent="$absent ${tool##*:}"
done
if [ -n "$absent" ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "Not installed:$absent. Please run as root, or find the like for your distribution:" >&2
        echo "    apt-get install -y --no-install-recommends $packages" >&2
        exit 1
    fi
    echo "Installing $packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y --no-install-recommends $packages
fi

if ! command -v cargo >/dev/null; then
    echo "cargo is not installed: see https://rustup.rs" >&2
    exit 1
fi
cargo build --release
exec ./target/release/snet selftest
