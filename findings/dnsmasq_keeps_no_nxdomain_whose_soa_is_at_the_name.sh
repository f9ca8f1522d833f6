#!/bin/sh
# dnsmasq keeps an NXDOMAIN whose SOA record stands above the name, and says it again. With the SOA record at the very
# name, it asks once more, and says NOERROR from the second time on: the name that did not exist has no records then.
#
# RFC 2308, 3 wants the SOA record of the zone in the authority section. A resolver that makes up its own "no such
# name" (a filter, a block list) has no zone, and the name itself looks like a harmless owner. NODATA with the SOA
# record there is kept as it should be. (First word: nx is NXDOMAIN, no is NODATA; second: where the SOA record is.)
#
# Output seen (dnsmasq-base 2.90-4~deb12u2, Debian 12, amd64):
#   nx above: NXDOMAIN NXDOMAIN NXDOMAIN, asked 1 times
#   nx there: NXDOMAIN NOERROR NOERROR, asked 2 times
#   no above: NOERROR NOERROR NOERROR, asked 1 times
#   no there: NOERROR NOERROR NOERROR, asked 1 times
#
# Needs: Debian's archive, python3, unshare(1) with user namespaces. Sends nothing outside of them.
set -eu

if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (
        cd "$folder"
        apt-get -qq -o APT::Sandbox::User=root download "dnsmasq-base=2.90-4~deb12u2" >/dev/null
        dpkg -x ./*.deb .
    )
    export FOLDER="$folder"
    unshare -Urnm --pid --fork --mount-proc --kill-child sh "$0" inside >"$folder/seen"
    cat "$folder/seen"
    sed -n 's/^#   //p' "$0" | diff - "$folder/seen"
    exit
fi

ip link set lo up
"$FOLDER/usr/sbin/dnsmasq" --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user= --group= \
    --bind-interfaces --listen-address=127.0.0.1 --port=5353 --server=127.0.0.1#5300 --pid-file= \
    --log-facility=/dev/null &
python3 - <<'PYTHON'
import socket
import struct
import threading
import time


def name(text):
    labels = [label for label in text.split(".") if label]
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


asked = {}
CODES = {0: "NOERROR", 3: "NXDOMAIN"}


def end_of_name(message, at):
    while message[at]:
        at += 1 + message[at]
    return at + 1


def serve(server):
    while True:
        query, client = server.recvfrom(4096)
        end = end_of_name(query, 12)
        labels = query[13 : end - 1].decode("latin1")
        kind, where = labels[:2], labels[3:8]
        asked[labels] = asked.get(labels, 0) + 1
        code = 3 if kind == "nx" else 0
        owner = b"\xc0\x0c" if where == "there" else b"\xc0" + bytes([12 + 1 + query[12]])
        data = name("ns.example") + name("me.example") + struct.pack(">5I", 1, 60, 60, 60, 60)
        soa = owner + struct.pack(">HHIH", 6, 1, 60, len(data)) + data
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, 0, 1, 0)
        server.sendto(head + query[12 : end + 4] + soa, client)


server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 5300))
threading.Thread(target=serve, args=(server,), daemon=True).start()
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(2)


def ask(text):
    query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + name(text) + struct.pack(">HH", 1, 1)
    for _ in range(20):
        client.sendto(query, ("127.0.0.1", 5353))
        try:
            return CODES[client.recv(4096)[3] & 15]
        except OSError:
            time.sleep(0.1)
    raise SystemExit("dnsmasq does not answer")


ask("no-above.warm.example")
for kind in ["nx", "no"]:
    for where in ["above", "there"]:
        text = f"{kind}-{where}.zone.example"
        said = [ask(text) for _ in range(3)]
        key = [labels for labels in asked if labels.startswith(f"{kind}-{where}") and "zone" in labels]
        print(f"{kind} {where}: {' '.join(said)}, asked {asked[key[0]]} times")
PYTHON
