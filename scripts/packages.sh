#!/bin/sh
# Makes a package of an executable of snet; docs/packages.md says what was tried of each kind.
#
#   scripts/packages.sh KIND PROCESSOR EXECUTABLE [FOLDER]
#
# KIND       deb, rpm, arch, alpine (apk), openwrt-ipk, openwrt-apk
# PROCESSOR  as the kind names it: amd64, arm64, armhf for deb; else x86_64, aarch64, armv7 (armv7h for arch),
#            riscv64, mipsel (OpenWrt)
# EXECUTABLE best a static one (scripts/static.sh): the package has no dependency on a C library
# FOLDER     where the package goes; default: target/packages
#
# Prints the package's path. Needs, as Debian names them: dpkg-dev for deb, rpm for rpm, makepkg and
# libarchive-tools for arch, python3 for both kinds of apk. scripts/packages/parts.sh goes first.
# SNET_VERSION: another version than that of Cargo.toml.
set -eu

project=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
here=$project/scripts/packages
fail() { printf 'packages.sh: %s\n' "$*" >&2; exit 65; }
need() { command -v "$1" >/dev/null || { printf 'packages.sh: %s is not installed\n' "$1" >&2; exit 69; }; }

case $# in
3 | 4) ;;
*) sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 64 ;;
esac
kind=$1 processor=$2 executable=$3
[ -f "$executable" ] || fail "no executable: $executable"
executable=$(realpath "$executable")
mkdir -p "${4:-$project/target/packages}"
folder=$(CDPATH='' cd -- "${4:-$project/target/packages}" && pwd)

version=${SNET_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$project/Cargo.toml" | head -n 1)}
summary='Transparent proxy for Linux'
# The same files make the same package.
epoch=$(git -C "$project" log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$epoch}"
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
root=$work/root
mkdir "$root"

# Bytes of the ELF header: class and order, machine (elf(5)).
elf() { od -An -tx1 -j"$1" -N2 "$executable" | tr -d ' \n'; }
case $(elf 0)$(elf 2):$(elf 4):$(elf 18) in
7f454c46:0201:3e00) is=x86_64 ;;
7f454c46:0201:b700) is=aarch64 ;;
7f454c46:0101:2800) is=armv7 ;;
7f454c46:0201:f300) is=riscv64 ;;
7f454c46:0101:0800) is=mipsel ;;
7f454c46:*) is='another processor' ;;
*) fail "$executable is not an executable of Linux" ;;
esac
case $processor in
amd64) wanted=x86_64 ;;
arm64) wanted=aarch64 ;;
armhf | armv7h | armv7hl) wanted=armv7 ;;
*) wanted=$processor ;;
esac
[ "$is" = "$wanted" ] || fail "$executable is for $is, not for $processor"
# Only a dynamic executable names a loader.
if head -c 4096 "$executable" | grep -aq '/ld-'; then
    echo "packages.sh: $executable is not static: it runs only where its C library is" >&2
fi

stage() { "$here/stage.sh" "$1" "$executable" "$root"; }

dates() { find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }

# Everything below a folder, always in the same order.
archive() {
    dates "$1"
    tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -cf - . | gzip -9n
}

deb() {
    need dpkg-deb
    stage deb
    mkdir "$root/DEBIAN"
    install -m 755 "$here/deb/postinst" "$here/deb/prerm" "$here/deb/postrm" "$root/DEBIAN/"
    size=$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
    sed -e "s/@VERSION@/$version-1/" -e "s/@PROCESSOR@/$processor/" -e "s/@SIZE@/$size/" \
        "$here/deb/control" >"$root/DEBIAN/control"
    (cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    dates "$root"
    package=$folder/snet_$version-1_$processor.deb
    # The newest compression that Debian 11 knows.
    dpkg-deb -Zxz --root-owner-group --build "$root" "$package" >/dev/null
}

rpm() {
    need rpmbuild
    stage rpm
    rpmbuild --quiet -bb --target "$processor-linux" --define "_topdir $work/rpm" \
        --define "snet_version $version" --define "snet_root $root" \
        --define "_rpmdir $work/rpms" --define "_buildhost localhost" \
        --define "clamp_mtime_to_source_date_epoch 1" --define "use_source_date_epoch_as_buildtime 1" \
        "$here/rpm/snet.spec" >"$work/rpmbuild.log" 2>&1 || { cat "$work/rpmbuild.log" >&2; exit 70; }
    package=$folder/snet-$version-1.$processor.rpm
    mv "$work"/rpms/*/*.rpm "$package"
}

arch() {
    need makepkg
    cp "$here/arch/PKGBUILD" "$here/arch/snet.install" "$work/"
    # makepkg does not run as root.
    runner=
    if [ "$(id -u)" -eq 0 ]; then
        chown -R nobody "$work"
        runner='setpriv --reuid=nobody --regid=nogroup --clear-groups'
    fi
    stage arch
    # shellcheck disable=SC2086 # a list of words
    (cd "$work" && HOME=$work CARCH=$processor PKGDEST=$work PKGEXT=.pkg.tar.xz SNET_ROOT=$root \
        SNET_VERSION=$version $runner makepkg --force --nodeps) >"$work/makepkg.log" 2>&1 ||
        { cat "$work/makepkg.log" >&2; exit 70; }
    package=$folder/snet-$version-1-$processor.pkg.tar.xz
    mv "$work"/snet-*.pkg.tar.xz "$package"
}

alpine() {
    need python3
    # What abuild does with the file, less building and signing.
    # shellcheck disable=SC1091,SC2034,SC2154 # the file and this read what the other sets
    (
        set -eu
        export SNET_EXECUTABLE="$executable" SNET_VERSION="$version" startdir="$here/alpine"
        pkgdir=$root
        . "$here/alpine/APKBUILD"
        package
        {
            echo "pkgname = $pkgname"
            echo "pkgver = $pkgver-r$pkgrel"
            echo "pkgdesc = $pkgdesc"
            echo "url = $url"
            echo "arch = $processor"
            echo "license = $license"
            echo "origin = $pkgname"
        } >"$work/info"
    )
    for step in post-install post-upgrade pre-deinstall; do
        cp "$here/alpine/snet.$step" "$work/$step"
    done
    package=$folder/snet-$version-r0.$processor.apk
    apk
}

# Both kinds of apk, from $work.
apk() {
    dates "$root"
    python3 "$here/apk.py" "$root" "$work/info" "$package" \
        "$work/post-install" "$work/post-upgrade" "$work/pre-deinstall"
}

openwrt() {
    stage openwrt
    depends=$(sed 's/#.*//' "$project/scripts/openwrt/depends" | tr -s ' \n' ' ' | sed 's/^ //; s/ $//')
}

# opkg's format: an archive of archives (as ar was, of which BusyBox has less).
openwrt_ipk() {
    openwrt
    mkdir "$work/control" "$work/ipk"
    {
        echo "Package: snet"
        echo "Version: $version-r1"
        echo "Depends: $(echo "$depends" | sed 's/ /, /g')"
        echo "License: MIT"
        echo "Section: net"
        # One for all cores of a processor: OpenWrt's names tell them apart, and snet need not.
        echo "Architecture: all"
        echo "Installed-Size: $(du -sb "$root" | cut -f1)"
        echo "Description: $summary"
    } >"$work/control/control"
    echo /etc/config/snet >"$work/control/conffiles"
    for script in postinst prerm; do
        install -m 755 "$project/scripts/openwrt/$script" "$work/control/$script"
    done
    archive "$work/control" >"$work/ipk/control.tar.gz"
    archive "$root" >"$work/ipk/data.tar.gz"
    echo 2.0 >"$work/ipk/debian-binary"
    package=$folder/snet_$version-r1_openwrt-$processor.ipk
    archive "$work/ipk" >"$package"
}

openwrt_apk() {
    need python3
    openwrt
    # OpenWrt's own tools read these (functions.sh, sysupgrade).
    lists=$root/lib/apk/packages
    mkdir -p "$lists"
    echo /etc/config/snet >"$lists/snet.conffiles"
    echo "/etc/config/snet $(sha256sum "$root/etc/config/snet" | cut -d' ' -f1)" >"$lists/snet.conffiles_static"
    (cd "$root" && find . -type f | sed 's/^\.//' | LC_ALL=C sort) >"$work/list"
    mv "$work/list" "$lists/snet.list"
    {
        echo "pkgname = snet"
        echo "pkgver = $version-r1"
        echo "pkgdesc = $summary"
        echo "url ="
        echo "arch = noarch"
        echo "license = MIT"
        echo "origin = snet"
        for depend in $depends; do echo "depend = $depend"; done
    } >"$work/info"
    cp "$project/scripts/openwrt/postinst" "$work/post-install"
    sed '2i PKG_UPGRADE=1' "$project/scripts/openwrt/postinst" >"$work/post-upgrade"
    cp "$project/scripts/openwrt/prerm" "$work/pre-deinstall"
    package=$folder/snet-$version-r1_openwrt-$processor.apk
    apk
}

case $kind in
deb | rpm | arch | alpine) $kind ;;
openwrt-ipk) openwrt_ipk ;;
openwrt-apk) openwrt_apk ;;
*) fail "no kind of package is called '$kind'" ;;
esac
echo "$package"
