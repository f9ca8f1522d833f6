#!/bin/sh
# From a fresh clone to a proof on this very kernel: installs what is missing when root (names it
# when not), builds the release binary, runs its selftest. Changes nothing else: the selftest runs in
# namespaces of its own. Without iptables and ipset it tries nftables alone, which needs no tool.
set -eu

cd -- "$(CDPATH='' dirname -- "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin
export PATH

# The firewall tools, which can be done without, and what cannot: ip, and the linker and C compiler
# that a Rust toolchain needs.
packages='iptables ipset iproute2 gcc libc6-dev'
absent() {
    for tool; do
        command -v "${tool%%:*}" >/dev/null || printf ' %s' "${tool##*:}"
    done
}
firewall=$(absent iptables:iptables ip6tables:iptables ipset:ipset)
needed=$(absent ip:iproute2 cc:gcc)
if [ -n "$needed$firewall" ] && { [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; }; then
    echo "Not installed:$needed$firewall. As root, or the like for your distribution:" >&2
    echo "    apt-get install -y --no-install-recommends $packages" >&2
    [ -z "$needed" ] || exit 1
    echo "Going on without: only the nftables backend is tried." >&2
elif [ -n "$needed$firewall" ]; then
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
snet=${CARGO_TARGET_DIR:-target}/release/snet
"$snet" selftest
cat <<EOF

That was a network of its own: yours is as it was. Next, as root:

    install -m 755 $snet /usr/local/bin/
    mkdir -p /etc/snet
    nano /etc/snet/config.toml          # your proxy: README.md, "On a desktop" or "On a router"
    snet check                          # lists every mistake, or says what the file means
    snet                                # runs until Ctrl-C; as a service: scripts/install.sh

Of a file of SNET, Clash, sing-box or shadowsocks, or of links, snet makes its own:
    snet config import FILE -o /etc/snet/config.toml
EOF
