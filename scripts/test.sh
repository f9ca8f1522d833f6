#!/bin/sh
# All tests: beside the code, on loopback, and in the lab with real peers. Ends with one line,
# "N passed, M failed", and exits 0 or 1.
#
# As root it first installs the peers that are missing (Debian, Ubuntu) and starts none of them;
# otherwise it names the command. The tests themselves need no root and never touch the host's
# network: each runs in namespaces of its own.
set -eu

# Program and package, as in lab/src/tools.rs; first what building needs.
peers='
    cc:gcc cc:libc6-dev
    unshare:util-linux nsenter:util-linux sha256sum:coreutils ip:iproute2
    xtables-nft-multi:iptables xtables-legacy-multi:iptables ipset:ipset nft:nftables
    curl:curl dig:bind9-dnsutils dnsmasq:dnsmasq-base nginx:nginx-light
    ss-server:shadowsocks-libev ss-local:shadowsocks-libev
    squid:squid htpasswd:apache2-utils tinyproxy:tinyproxy
    haproxy:haproxy nghttpx:nghttp2-proxy
    danted:dante-server microsocks:microsocks
    obfs-local:simple-obfs ss-v2ray-plugin:shadowsocks-v2ray-plugin
    strace:strace ufw:ufw firewalld:firewalld dbus-daemon:dbus-daemon
    unbound:unbound drill:ldnsutils kdig:knot-dnsutils getent:libc-bin musl-gcc:musl-tools
    turnserver:coturn python3:python3'
# ssserver forwards the end of one half of a connection; Debian has no package of it.
ssserver=1.25.0
threads=${SNET_TEST_THREADS:-4}

cd -- "$(CDPATH='' dirname -- "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin
export PATH

# The packages of the programs that are not there.
missing() {
    for peer in $peers; do
        command -v "${peer%%:*}" >/dev/null || echo "${peer##*:}"
    done | sort -u | tr '\n' ' '
}

install_peers() {
    absent=$(missing)
    [ -n "$absent" ] || return 0
    command="apt-get install -y --no-install-recommends $absent"
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "The lab needs more programs. Run this script as root, or this command" >&2
        echo "(on another distribution its like), and see that no service starts:" >&2
        echo "    $command" >&2
        exit 1
    fi
    echo "Installing ${absent}without starting any service, now or at the next boot"
    enabled=$(enabled_services)
    forbid_services
    trap 'disable_new_services; allow_services' EXIT
    trap 'exit 1' HUP INT TERM
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    $command
    disable_new_services
    allow_services
    trap - EXIT HUP INT TERM
    absent=$(missing)
    if [ -n "$absent" ]; then
        echo "Installed, and still programs are missing of: $absent" >&2
        exit 1
    fi
}

# Debian starts what it installs unless policy-rc.d says 101 (invoke-rc.d(8)). What was there is
# put back.
policy=/usr/sbin/policy-rc.d
forbid_services() {
    if [ -e $policy ] || [ -L $policy ]; then
        mv $policy $policy.before-snet
    fi
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
}
allow_services() {
    rm -f $policy
    if [ -e $policy.before-snet ] || [ -L $policy.before-snet ]; then
        mv $policy.before-snet $policy
    fi
}

# The services that start at boot. Whoever comes with a peer is taken out of them again.
enabled_services() {
    [ ! -d /etc/systemd/system ] ||
        find /etc/systemd/system -path '*.wants/*.service' -printf '%f\n' | sort -u
}
disable_new_services() {
    enabled_services | while read -r unit; do
        if ! echo "$enabled" | grep -qxF "$unit"; then
            systemctl --quiet disable "$unit" || echo "Could not disable $unit" >&2
        fi
    done
}

install_ssserver() {
    # One that was built without the methods of 2022 is built again.
    built=target/lab-tools/bin/ssserver
    [ -x $built ] || built=ssserver
    if "$built" --help 2>/dev/null | grep -q 2022-blake3-aes-128-gcm; then
        return 0
    fi
    echo "Building ssserver of shadowsocks-rust $ssserver into target/lab-tools (a few minutes)"
    cargo install shadowsocks-rust --locked --version $ssserver --bin ssserver --quiet \
        --no-default-features --features server,aead-cipher,aead-cipher-2022 --force \
        --root target/lab-tools --target-dir target/lab-tools/build
    rm -rf target/lab-tools/build
}

# Debian's package of systemd-resolved takes over /etc/resolv.conf: only the program is taken out.
install_resolved() {
    if [ -x target/lab-tools/bin/systemd-resolved ] || [ -x /lib/systemd/systemd-resolved ]; then
        return 0
    fi
    echo "Taking systemd-resolved out of its package into target/lab-tools, without installing it"
    folder=$(mktemp -d)
    mkdir -p target/lab-tools/bin
    (
        cd "$folder"
        # Lists that are too old name a version that is gone.
        download="apt-get -o APT::Sandbox::User=root download systemd-resolved"
        $download || { apt-get update && $download; }
        dpkg -x systemd-resolved_*.deb .
    )
    cp "$folder/lib/systemd/systemd-resolved" target/lab-tools/bin/
    rm -r "$folder"
    if ldd target/lab-tools/bin/systemd-resolved | grep -q 'not found'; then
        apt-get install -y --no-install-recommends libsystemd-shared
    fi
}

run_tests() {
    output=target/test-output.txt
    # The tests of the lab are long and busy: few at a time.
    { cargo test --workspace --no-fail-fast -- --test-threads="$threads" 2>&1 || echo "cargo test: $?"; } |
        tee "$output"
    passed=$(sum passed) failed=$(sum failed)
    # What does not compile, or breaks off, has no failed test to show.
    if [ "$failed" -eq 0 ] && grep -q '^cargo test: ' "$output"; then
        failed=1
    fi
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# Over all test binaries, from libtest's "test result: ok. 12 passed; 0 failed; ...". Tests that run
# again inside namespaces are quoted when they fail; those inner runs are of one test, the others
# are "filtered out", and do not count twice.
sum() {
    sed -n "s/^test result: .* \([0-9][0-9]*\) $1;.*; 0 filtered out;.*/\1/p" "$output" |
        awk '{ total += $1 } END { print total + 0 }'
}

if ! command -v cargo >/dev/null; then
    echo "cargo is not installed: see https://rustup.rs" >&2
    exit 1
fi
install_peers
install_ssserver
install_resolved
run_tests
