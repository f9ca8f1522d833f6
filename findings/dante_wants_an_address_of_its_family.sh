#!/bin/sh
# dante refuses an unspecified address of the other family in UDP ASSOCIATE.
#
# A client that does not know yet from where it will send gives an address and a port of zeros in UDP ASSOCIATE
# (RFC 1928, 4 and 6); most clients write it as 0.0.0.0:0, whatever the connection to the server is. One would
# expect the address's form not to matter, since it says nothing.
#
# dante takes it for the family that the client will send in, and one that listens in the other family only (its key
# `internal`) answers REP 8, "address type not supported". With an `internal` of each family it takes both forms.
#
# Output seen (dante-server 1.4.2+dfsg-7+b8, Debian 12, amd64; REP of the answer):
#   internal 127.0.0.1, 0.0.0.0:0: 0
#   internal 127.0.0.1, [::]:0: 8
#   internal ::1, 0.0.0.0:0: 8
#   internal ::1, [::]:0: 0
#
# Needs: Debian's archive, python3, unshare(1) with user namespaces. Sends nothing outside of them.
set -eu

if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (
        cd "$folder"
        apt-get -qq -o APT::Sandbox::User=root download 'dante-server=1.4.2+dfsg-7+b8' >/dev/null
        dpkg -x ./*.deb .
    )
    export FOLDER="$folder"
    for internal in 127.0.0.1 ::1; do
        unshare -Urnm --pid --fork --mount-proc --kill-child sh "$0" inside $internal
    done >"$folder/seen"
    cat "$folder/seen"
    printf '%s\n' 'internal 127.0.0.1, 0.0.0.0:0: 0' 'internal 127.0.0.1, [::]:0: 8' \
        'internal ::1, 0.0.0.0:0: 8' 'internal ::1, [::]:0: 0' | diff - "$folder/seen"
    exit
fi

ip link set lo up
cat >"$FOLDER/danted.conf" <<CONF
logoutput: /dev/null
internal: $2 port = 1080
external: lo
clientmethod: none
socksmethod: none
client pass { from: 0/0 to: 0/0 }
client pass { from: ::/0 to: ::/0 }
socks pass { from: 0/0 to: 0/0 protocol: tcp udp }
socks pass { from: ::/0 to: ::/0 protocol: tcp udp }
CONF
"$FOLDER/usr/sbin/danted" -f "$FOLDER/danted.conf" &
python3 - "$2" <<'PYTHON'
import socket
import sys
import time

INTERNAL = sys.argv[1]
FORMS = (("0.0.0.0:0", bytes([1]) + bytes(6)), ("[::]:0", bytes([4]) + bytes(18)))


def connected():
    for _ in range(50):
        try:
            return socket.create_connection((INTERNAL, 1080), timeout=5)
        except OSError:
            time.sleep(0.1)
    raise SystemExit("dante does not listen")


for name, form in FORMS:
    server = connected()
    server.sendall(b"\5\1\0")
    assert server.recv(2) == b"\5\0"
    server.sendall(b"\5\3\0" + form)
    print(f"internal {INTERNAL}, {name}: {server.recv(64)[1]}", flush=True)
    server.close()
PYTHON
