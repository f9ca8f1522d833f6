#!/bin/sh
# Installs, starts, upgrades and removes packages of an executable in roots of their kind, and says what was seen.
#
#   scripts/packages/try.sh EXECUTABLE [KIND/SUITE...]
#
# By default deb/bullseye deb/bookworm deb/trixie deb/sid rpm/trixie arch/trixie alpine/trixie: SUITE is the
# release of Debian that the root is made of, with rpm, pacman or OpenRC in it where the kind wants that.
# EXECUTABLE is a static one for this processor (scripts/static.sh).
#
# Each root is booted, by its own systemd or OpenRC, in namespaces of its own: no network, nothing of this machine
# but its kernel; what happens in it is thrown away. As root; needs, as Debian names it, debootstrap besides what
# scripts/packages.sh needs. Output of each goes to target/packages/try/KIND-SUITE.txt.
#
# APK: a static apk(8), which Debian does not have; without one the trial unpacks by itself and runs the scripts.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
project=$(CDPATH='' cd -- "$here/../.." && pwd)
[ $# -gt 0 ] || { sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 64; }
[ "$(id -u)" -eq 0 ] || { echo "try.sh: not root" >&2; exit 77; }
command -v debootstrap >/dev/null || { echo "try.sh: debootstrap is not installed" >&2; exit 69; }
executable=$1
shift
[ $# -gt 0 ] || set -- deb/bullseye deb/bookworm deb/trixie deb/sid rpm/trixie arch/trixie alpine/trixie
work=$project/target/packages
roots=$work/roots
mkdir -p "$roots" "$work/try"
# Packages of another executable.
rm -rf "$work"/try/*/

# A root is made once.
root() {
    includes=iproute2,iptables,ipset,kmod
    case $1 in
    deb) includes=$includes,systemd-sysv ;;
    rpm) includes=$includes,systemd-sysv,rpm ;;
    arch) includes=$includes,systemd-sysv,pacman-package-manager ;;
    alpine) includes=$includes,openrc,bsdutils ;;
    *) echo "try.sh: no root for '$1'" >&2; exit 64 ;;
    esac
    lower=$roots/$1-$2
    [ ! -e "$lower.done" ] || return 0
    # shellcheck disable=SC2016 # for apt
    mirror=$(apt-get indextargets --format '$(SITE)' | grep '/debian/*$' | head -n 1)
    rm -rf "$lower"
    debootstrap --variant=minbase --include="$includes" "$2" "$lower" "$mirror" >"$lower.log" 2>&1 ||
        { tail -n 5 "$lower.log" >&2; exit 69; }
    touch "$lower.done"
}

# The packages of two versions.
packages() {
    rm -rf "$work/try/$1"
    mkdir -p "$work/try/$1"
    case $1 in deb) processor=$(dpkg --print-architecture) ;; *) processor=$(uname -m) ;; esac
    for version in 0.1.0 0.1.1; do
        SNET_VERSION=$version "$project/scripts/packages.sh" "$1" "$processor" "$executable" "$work/try/$1" >/dev/null
    done
}

boot() {
    hierarchy=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    [ -n "$hierarchy" ] || { echo "try.sh: no cgroup2 is mounted" >&2; exit 69; }
    group=$hierarchy/snet-try-$$
    mkdir -p "$group"
    # shellcheck disable=SC2016 # the inner shell's
    timeout -s KILL 600 sh -c 'echo 0 >"$0/cgroup.procs"; exec "$@"' "$group" \
        unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child \
        "$here/try/boot.sh" "$1" "$lower" "$work/try/$1" || true
    # systemd has made groups of its own in it.
    find "$group" -depth -type d -exec rmdir {} + || true
}

failed=0
for each; do
    kind=${each%%/*} suite=${each##*/}
    output=$work/try/$kind-$suite.txt
    root "$kind" "$suite"
    ls "$work/try/$kind"/*0.1.1* >/dev/null 2>&1 || packages "$kind"
    echo "$each"
    boot "$kind" >"$output" 2>&1 </dev/null
    grep -a '^seen: ' "$output" | sed 's/^seen: /  /' || true
    if ! grep -aq '^seen: all' "$output"; then
        echo "  it did not come to its end: $output" >&2
        failed=1
    fi
done
exit $failed
