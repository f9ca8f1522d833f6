#!/bin/sh
# `ip link add ... netns PID` of iproute2 6.15 looks the process up in /proc, and 6.1 asks the kernel.
#
# ip-link(8) takes the number of a process for its network namespace. One would expect that it is a number of the
# caller's own pid namespace, as it was when it went into the message as it stands (IFLA_NET_NS_PID, which the kernel
# looks up in the pid namespace of who asks).
#
# Now /proc/PID/ns/net is opened, and the descriptor goes into the message. In a pid namespace whose /proc is still
# that of its parent (unshare(2) without a mount) the same number names another process there, or none that may be
# looked at. As root the interface so ends in a stranger's network namespace, and ip says nothing. A path,
# /proc/$(readlink /proc/self)/ns/net as the other process reads it, means the same to both.
#
# Output seen (Linux 6.18.44, Debian's iproute2 6.1.0-3 and 6.15.0-1, amd64):
#   6.1.0 with a number: downlink is there
#   6.1.0 with a path: downlink is there
#   6.15.0 with a number: downlink is not there
#   6.15.0 with a path: downlink is there
#
# Needs: Debian's archive by apt, python3, unshare(1) with user namespaces. Sends nothing.
set -eu

if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    mirror=$(apt-get indextargets --format '$(SITE)' | grep '/debian/*$' | head -n 1)
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/state"
    : >"$folder/state/status"
    printf 'deb %s bookworm main\ndeb %s trixie main\n' "$mirror" "$mirror" >"$folder/sources.list"
    cat >"$folder/apt.conf" <<EOT
Dir::State "$folder/state";
Dir::State::status "$folder/state/status";
Dir::State::lists "$folder/lists";
Dir::Cache "$folder/cache";
Dir::Etc::SourceList "$folder/sources.list";
Dir::Etc::SourceParts "/nonexistent";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
EOT
    export APT_CONFIG="$folder/apt.conf"
    apt-get -qq update
    for version in bookworm=6.1.0-3 trixie=6.15.0-1; do
        release=${version%%=*}
        apt-get -qq -y -t "$release" install --download-only "iproute2=${version#*=}" >/dev/null
        mkdir "$folder/$release"
        for file in "$folder"/cache/archives/*.deb; do dpkg -x "$file" "$folder/$release"; done
        rm "$folder"/cache/archives/*.deb
    done
    unset APT_CONFIG
    # The outer shell keeps /proc as it is; the inner one is in a pid namespace of its own.
    for release in bookworm trixie; do
        FOLDER="$folder/$release" unshare -Urnpf sh "$0" inside
    done >"$folder/seen"
    cat "$folder/seen"
    printf '%s\n' '6.1.0 with a number: downlink is there' '6.1.0 with a path: downlink is there' \
        '6.15.0 with a number: downlink is not there' '6.15.0 with a path: downlink is there' |
        diff - "$folder/seen"
    exit
fi

libraries=$(find "$FOLDER" -name '*.so.*' -exec dirname {} + | sort -u | tr '\n' ':')
loader=$(find "$FOLDER" -name 'ld-linux-*.so.*' | head -n 1)
program=$(find "$FOLDER" -path '*bin/ip' -type f | head -n 1)
its_ip() { "$loader" --library-path "$libraries" "$program" "$@"; }

version=$(its_ip -V | sed 's/.*iproute2-\([^,]*\).*/\1/')
for kind in number path; do
    unshare -n python3 -c 'import os, sys, time
open(sys.argv[1], "w").write(os.readlink("/proc/self"))
time.sleep(5)' "$FOLDER/outer" &
    other=$!
    sleep 0.5
    case $kind in
    number) name=$other ;;
    # The number that it has in the outer pid namespace.
    path) name=/proc/$(cat "$FOLDER/outer")/ns/net ;;
    esac
    its_ip link add uplink type veth peer name downlink netns "$name" 2>/dev/null || true
    if nsenter --net="/proc/$(cat "$FOLDER/outer")/ns/net" ip link show downlink >/dev/null 2>&1; then
        echo "$version with a $kind: downlink is there"
    else
        echo "$version with a $kind: downlink is not there"
    fi
    kill $other
    wait $other 2>/dev/null || true
done
