#!/bin/sh
# Pictures for the documents, made beside a running snet in the namespaces of scripts/dashboard.sh:
# `snet top` as a picture, and the first minute as a recording of a terminal (asciinema's format).
#
#   scripts/pictures.sh [SNET [FOLDER]]
#
# SNET is the executable (target/release/snet), FOLDER gets top.png and first-minute.cast
# (target/pictures). Needs chromium, dnsmasq, curl, iproute2, nftables, tmux, asciinema, python3.
# The pictures of the dashboard are made by scripts/dashboard.sh.
set -eu

cd -- "$(CDPATH='' dirname -- "$0")/.."
snet=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/snet}")
mkdir -p "${2:-target/pictures}"
folder=$(realpath "${2:-target/pictures}")
PATH=$PATH:/usr/sbin:/sbin
for tool in chromium dnsmasq curl ip nft tmux asciinema unshare python3; do
    command -v $tool >/dev/null || { echo "$tool is not installed" >&2; exit 69; }
done
mkdir -p "$folder/ui"
echo 'no dashboard is looked at here' >"$folder/ui/index.html"
exec unshare -Urnm --pid --fork --kill-child --mount-proc \
    "$PWD/scripts/dashboard/world.sh" "$snet" "$folder/ui" "$folder" python3 "" \
    "$PWD/scripts/pictures/take.sh" "$snet" "$folder"
