#!/bin/sh
# The world of scripts/dashboard.sh, inside its namespaces: a host with snet and a browser, and behind a
# wire a site, a name server and three proxies, of which one is not there. Further arguments are a command.
set -eu

snet=$1 files=$2 folder=$3 python=$4 other=$5
shift 5
here=$(CDPATH='' dirname -- "$0")
mount -t tmpfs none /run
mkdir /run/lab
chmod 700 /run/lab
ip link set lo up
unshare -n sleep 300 &
site=$!
# The other namespace is there as soon as it is another one.
while [ "$(readlink /proc/$site/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
ip link add wire type veth peer name far netns $site
ip addr add 192.0.2.2/24 dev wire
ip link set wire up
ip route add default via 192.0.2.1
there() { nsenter -t $site -n "$@"; }
there ip link set lo up
there ip addr add 192.0.2.1/24 dev far
there ip link set far up
for address in 203.0.113.10 198.51.100.53 198.51.100.54; do there ip addr add $address/32 dev lo; done
# Two: one that stays in the foreground serves a connection over TCP to its end before it serves others.
for address in 198.51.100.53 198.51.100.54; do
    there dnsmasq --conf-file=/dev/null --no-daemon --no-resolv --no-hosts --user=root --bind-interfaces \
        --listen-address=$address --address=/example/203.0.113.10 --local=/example/ >/run/lab/dnsmasq 2>&1 &
done
there python3 "$here/peers.py" &
echo 'a secret for an hour' >/run/lab/secret
cat >/run/lab/snet.toml <<EOT
[[proxy]]
name = "tokyo"
type = "http"
server = "192.0.2.1:8080"
[[proxy]]
name = "osaka"
type = "http"
server = "192.0.2.1:8081"
[[proxy]]
name = "kyoto"
type = "http"
server = "192.0.2.1:8082"
[dns]
china = ["198.51.100.53"]
trusted = ["198.51.100.54"]
[firewall]
backend = "nftables"
[control]
http = "127.0.0.1:9090"
secret-file = "/run/lab/secret"
ui = "$files"
EOT
chmod 600 /run/lab/secret /run/lab/snet.toml
sleep 1
"$snet" -c /run/lab/snet.toml >/run/lab/log 2>&1 &
echo $! >/run/lab/pid
for _ in $(seq 100); do
    ! grep -qs ready: /run/lab/log || break
    sleep 0.1
done
grep -q ready: /run/lab/log || { cat /run/lab/log >&2; exit 1; }
if [ -n "$other" ]; then
    (cd "$other" && exec python3 -m http.server -b 127.0.0.1 8000 >/dev/null 2>&1) &
fi
for _ in 1 2 3; do
    curl -s --retry 9 --retry-all-errors --resolve foreign.example:80:203.0.113.10 --max-time 200 -o /dev/null http://foreign.example/ &
done
sleep 1
# What is done in this world; without a command the dashboard is driven.
[ $# -gt 0 ] || set -- "$python" "$here/drive.py" "$folder" ${other:+http://127.0.0.1:8000/}
"$@"
