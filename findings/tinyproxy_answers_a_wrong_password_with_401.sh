#!/bin/sh
# tinyproxy answers a wrong password with 401, and a missing one with 407.
#
# A proxy that wants a user name and a password answers 407 (RFC 9110, 15.5.8); 401 is for the origin server behind
# it. One would expect 407 for wrong credentials as well, since nothing has been sent on.
#
# tinyproxy sends 407 only where no credentials came. Wrong ones get 401 with WWW-Authenticate, as if the site
# behind it had answered. A client that takes a 4xx other than 407 for a word about the destination believes that the
# site wants a login, and never says that the proxy's password is wrong.
#
# Output seen (tinyproxy-bin 1.11.1-2.1+deb12u1, Debian 12, amd64):
#   none: HTTP/1.0 407 Proxy Authentication Required, Proxy-Authenticate
#   wrong: HTTP/1.0 401 Unauthorized, WWW-Authenticate
#
# Needs: Debian's archive, python3, unshare(1) with user namespaces. Sends nothing outside of them.
set -eu

if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (
        cd "$folder"
        apt-get -qq -o APT::Sandbox::User=root download 'tinyproxy-bin=1.11.1-2.1+deb12u1' >/dev/null
        dpkg -x ./*.deb .
    )
    export FOLDER="$folder"
    unshare -Urnm --pid --fork --mount-proc --kill-child sh "$0" inside >"$folder/seen"
    cat "$folder/seen"
    printf '%s\n' 'none: HTTP/1.0 407 Proxy Authentication Required, Proxy-Authenticate' \
        'wrong: HTTP/1.0 401 Unauthorized, WWW-Authenticate' | diff - "$folder/seen"
    exit
fi

ip link set lo up
cat >"$FOLDER/tinyproxy.conf" <<'CONF'
Port 8888
Listen 127.0.0.1
Timeout 60
MaxClients 10
BasicAuth somebody secret
CONF
"$FOLDER/usr/bin/tinyproxy" -d -c "$FOLDER/tinyproxy.conf" >/dev/null &
python3 - <<'PYTHON'
import base64
import socket
import time


def answered(header):
    for _ in range(50):
        try:
            proxy = socket.create_connection(("127.0.0.1", 8888), timeout=5)
            break
        except OSError:
            time.sleep(0.1)
    else:
        raise SystemExit("tinyproxy does not listen")
    proxy.sendall(f"CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: 127.0.0.1:9\r\n{header}\r\n".encode())
    said = b""
    while chunk := proxy.recv(4096):
        said += chunk
    head = said.decode().split("\r\n\r\n")[0].split("\r\n")
    asked = [line.split(":")[0] for line in head if "-authenticate:" in line.lower()]
    return f"{head[0]}, {', '.join(asked)}"


print("none:", answered(""))
wrong = base64.b64encode(b"somebody:wrong").decode()
print("wrong:", answered(f"Proxy-Authorization: Basic {wrong}\r\n"))
PYTHON
