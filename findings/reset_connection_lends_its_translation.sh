#!/bin/sh
# A redirected connection that its server resets lends its translation to the next one between the same ends.
#
# A program's connection is redirected, and the listener resets it. Seconds later another socket connects
# from the same port to the same destination, with a mark that the first rule of nat OUTPUT lets pass. One
# would expect that the rules decide about the new connection, as they do if the first one was closed, by
# either side, or reset by the client.
#
# After a reset by the server conntrack keeps its entry in the state CLOSE (10 seconds) and takes the new SYN for
# the same connection. A known entry does not meet the nat table again: the marked connection is redirected.
# So an exemption by mark does not hold for each single connection, and a program that redirects must expect to
# accept, rarely, a connection of its own although every rule is right.
#
# Output seen (Linux 6.18.44, iptables 1.8.9-2 (nf_tables), Debian 12, amd64):
#   closed by the client: redirected; then with the mark: direct
#   closed by the server: redirected; then with the mark: direct
#   reset by the client: redirected; then with the mark: direct
#   reset by the server: redirected; then with the mark: redirected
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
    printf '%s\n' 'closed by the client: redirected; then with the mark: direct' \
        'closed by the server: redirected; then with the mark: direct' \
        'reset by the client: redirected; then with the mark: direct' \
        'reset by the server: redirected; then with the mark: redirected' | diff - "$folder/seen"
    exit
fi

ip link set lo up
ip route add local 198.51.100.0/24 dev lo
"$TOOL" iptables -t nat -A OUTPUT -m mark --mark 1 -j RETURN
"$TOOL" iptables -t nat -A OUTPUT -p tcp -d 198.51.100.0/24 -j REDIRECT --to-ports 1080

python3 - <<'PYTHON'
import socket, struct, time
redirected = socket.create_server(("127.0.0.1", 1080))
direct = socket.create_server(("198.51.100.1", 80))

def end(first, second, reset):
    if reset:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    first.close()
    time.sleep(0.1)
    second.close()

def connect(mark, port, side, reset):
    client = socket.socket()
    client.settimeout(5)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    client.bind(("198.51.100.9", port))
    client.connect(("198.51.100.1", 80))
    for name, server in ("redirected", redirected), ("direct", direct):
        server.settimeout(0.5)
        try:
            accepted, _ = server.accept()
        except TimeoutError:
            continue
        end(*((client, accepted) if side == "client" else (accepted, client)), reset)
        return name
    return "nowhere"

port = 40000
for how, reset in ("closed", False), ("reset", True):
    for side in "client", "server":
        port += 1
        before, after = connect(0, port, side, reset), connect(1, port, side, reset)
        print(f"{how} by the {side}: {before}; then with the mark: {after}")
PYTHON
