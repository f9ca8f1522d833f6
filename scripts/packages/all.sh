#!/bin/sh
# All packages of the static executables that are there (scripts/static.sh), and their hashes in SHA256SUMS.
#
#   scripts/packages/all.sh [FOLDER [TARGET...]]
#
# FOLDER is where they go, target/packages/all by default; TARGET is as for scripts/static.sh, all by default. Routers
# get the small executable where there is one. scripts/packages/parts.sh goes first. What has no executable is left out,
# and said so.
set -eu

cd -- "$(CDPATH='' dirname -- "$0")/../.."
folder=${1:-target/packages/all}
[ $# -eq 0 ] || shift
mkdir -p "$folder"
made=0

# KIND=PROCESSOR for each package of a target of Rust.
while read -r target packages; do
    case " $* " in '  ' | *" $target "*) ;; *) continue ;; esac
    for package in $packages; do
        executable=target/static/snet-$target
        case $package in openwrt-*) [ ! -f "$executable-small" ] || executable=$executable-small ;; esac
        if [ ! -f "$executable" ]; then
            echo "left out: $package, as there is no $executable" >&2
            continue
        fi
        scripts/packages.sh "${package%%=*}" "${package#*=}" "$executable" "$folder"
        made=$((made + 1))
    done
done <<'EOT'
x86_64-unknown-linux-musl deb=amd64 rpm=x86_64 arch=x86_64 alpine=x86_64 openwrt-ipk=x86_64 openwrt-apk=x86_64
aarch64-unknown-linux-musl deb=arm64 rpm=aarch64 arch=aarch64 alpine=aarch64 openwrt-ipk=aarch64 openwrt-apk=aarch64
armv7-unknown-linux-musleabihf deb=armhf alpine=armv7 arch=armv7h openwrt-ipk=armv7 openwrt-apk=armv7
riscv64gc-unknown-linux-musl alpine=riscv64 openwrt-ipk=riscv64 openwrt-apk=riscv64
mipsel-unknown-linux-musl openwrt-ipk=mipsel openwrt-apk=mipsel
EOT

[ "$made" -gt 0 ] || { echo "all.sh: no executable in target/static: scripts/static.sh makes them" >&2; exit 65; }
cd "$folder"
sha256sum ./*.deb ./*.rpm ./*.apk ./*.ipk ./*.pkg.tar.xz 2>/dev/null | sed 's| \./| |' >SHA256SUMS
echo "$made packages in $folder"
