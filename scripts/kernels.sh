#!/bin/sh
# The selftest on other kernels: boots Debian's in qemu, each with the tools of Debian 12 (riscv64: 13) in a
# small initramfs, and runs the selftest with each backend. The last lines are a table.
#
#   scripts/kernels.sh [--without MODULE[,MODULE...]] [--backend BACKEND] SNET [SUITE/ARCHITECTURE...]
#
# SNET is an executable of that architecture, best a static one. SUITE is a release of Debian, whose
# kernel it is (bullseye 5.10, bookworm 6.1, trixie 6.12, sid the newest; all four by default),
# ARCHITECTURE amd64, arm64, armhf, mipsel (bookworm alone) or riscv64 (trixie and sid). Output of each goes to target/kernels/SUITE-ARCHITECTURE.txt.
# For another kernel than Debian's put boot/vmlinuz and lib/modules into
# target/kernels/kernel-NAME-ARCHITECTURE/whole, a file `done` beside, and say NAME/ARCHITECTURE.
#
# --without leaves modules out of the machine, as a router's maker does: snet has to come up with what
# remains, and to say what is missing. The output is then SUITE-ARCHITECTURE-without-MODULES.txt.
# --backend runs only this one of nftables, iptables and iptables-legacy.
#
# Needs, of Debian: qemu-system-x86, -arm, -mips or -misc (riscv64), cpio, kmod, and apt for the packages, which are
# unpacked and not installed, from the mirror that this machine uses. Nothing of the host's network is
# touched. Everything is emulated.
set -eu

without='' backends=''
while :; do
    case ${1-} in
    --without) without=$2 ;;
    --backend) backends=$2 ;;
    *) break ;;
    esac
    shift 2
done
[ $# -gt 0 ] || { sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 64; }
snet=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- bullseye/amd64 bookworm/amd64 trixie/amd64 sid/amd64
cd -- "$(CDPATH='' dirname -- "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
here=$PWD/scripts/kernels
work=$PWD/target/kernels
mkdir -p "$work"
for tool in apt-get cpio depmod dpkg-deb; do
    command -v $tool >/dev/null || { echo "$tool is not installed" >&2; exit 69; }
done

mirror=$(apt-get indextargets --format '$(SITE)' | grep '/debian/*$' | head -n 1)
[ -n "$mirror" ] || { echo "apt of this machine has no mirror of Debian" >&2; exit 69; }

# apt with an empty system of its own, of architecture $1.
prepare_apt() {
    apt=$work/apt-$1
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/state"
    : >>"$apt/state/status"
    # Of the tools, and all that have this architecture.
    case $1 in
    mipsel) tools_of=bookworm releases=bookworm ;;
    riscv64) tools_of=trixie releases="trixie sid" ;;
    *) tools_of=bookworm releases="bullseye bookworm trixie sid" ;;
    esac
    for release in $releases; do
        echo "deb $mirror $release main"
    done >"$apt/sources.list"
    cat >"$apt/apt.conf" <<EOT
Dir::State "$apt/state";
Dir::State::status "$apt/state/status";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/nonexistent";
APT::Architecture "$1";
APT::Architectures { "$1"; };
APT::Default-Release "$tools_of";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Retries "3";
EOT
    export APT_CONFIG="$apt/apt.conf"
    [ -e "$apt/fresh" ] || { apt-get -q update && touch "$apt/fresh"; }
}

# The tools that snet uses, with all that they need.
unpack_tools() {
    tools=$work/tools-$1
    [ ! -e "$tools/done" ] || return 0
    rm -rf "$tools"
    mkdir -p "$tools"
    apt-get -q -y install --download-only iptables ipset iproute2 kmod busybox-static netcat-openbsd >&2
    for package in "$apt"/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$tools"
    done
    # /bin is a link into /usr only once the base system is set up.
    for folder in bin sbin lib lib64; do
        [ ! -d "$tools/$folder" ] || [ -L "$tools/$folder" ] || {
            mkdir -p "$tools/usr/$folder"
            cp -a "$tools/$folder/." "$tools/usr/$folder/"
            rm -r "${tools:?}/$folder"
        }
        [ ! -d "$tools/usr/$folder" ] || ln -sfn "usr/$folder" "$tools/$folder"
    done
    rm -rf "${tools:?}/usr/share" "$tools"/usr/lib/*/gconv "$tools"/usr/lib/*/perl* "${tools:?}/var"
    # As Debian's alternatives have it.
    for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
        ln -sf xtables-nft-multi "$tools/usr/sbin/$name"
    done
    touch "$tools/done"
}

# The kernel of a suite, and of its modules those of the network.
unpack_kernel() {
    kernel=$work/kernel-$1-$2
    [ ! -e "$kernel/done" ] || return 0
    case $2 in
    armhf) flavour=armmp ;;
    mipsel) flavour=4kc-malta ;;
    *) flavour=$2 ;;
    esac
    rm -rf "$kernel"
    mkdir -p "$kernel/whole"
    # The package of that name only depends on the one of a version, and that, of newer ones, on its parts.
    (
        cd "$kernel"
        wanted=linux-image-$flavour
        for _ in 1 2 3; do
            next=
            for package in $wanted; do
                apt-get -q download "$package/$1" >&2
                next="$next $(dpkg-deb -f "$package"_*.deb Depends | tr ',' '\n' |
                    sed -n 's/^ *\(linux-\(image\|binary\|modules\)-[^ ]*\).*/\1/p' | tr '\n' ' ')"
            done
            wanted=$next
        done
        for package in *.deb; do dpkg-deb -x "$package" whole; done
        rm ./*.deb
    )
    touch "$kernel/done"
}

initramfs() {
    root=$work/root
    rm -rf "$root"
    mkdir -p "$root"
    cp -a "$work/tools-$1/." "$root/"
    mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/tmp" "$root/etc" "$root/root" "$root/var"
    modules=$(find "$kernel/whole" -type d -path '*/lib/modules/*' -name kernel | head -n 1)
    version=$(basename "$(dirname "$modules")")
    mkdir -p "$root/usr/lib/modules/$version/kernel"
    for part in net lib crypto drivers/net/veth.ko drivers/net/tun.ko drivers/net/dummy.ko arch; do
        for found in "$modules/$part" "$modules/$part.xz" "$modules/$part.zst"; do
            [ -e "$found" ] || continue
            mkdir -p "$root/usr/lib/modules/$version/kernel/$(dirname "$part")"
            cp -a "$found" "$root/usr/lib/modules/$version/kernel/$(dirname "$part")/"
        done
    done
    cp -a "$(dirname "$modules")"/modules.builtin* "$(dirname "$modules")/modules.order" \
        "$root/usr/lib/modules/$version/" 2>/dev/null || true
    for module in $(echo "$without" | tr ',' ' '); do
        # A module is called with - or with _.
        found=$(find "$root/usr/lib/modules/$version" -name "$(echo "$module" | tr '_-' '??').ko*")
        [ -n "$found" ] || { echo "Linux $version has no module $module to leave out" >&2; exit 69; }
        # shellcheck disable=SC2086 # a list of paths
        rm $found
    done
    depmod -b "$root/usr" "$version" 2>/dev/null || depmod -b "$root" "$version"
    install -m 755 "$snet" "$root/usr/bin/snet"
    install -m 755 "$here/init" "$root/init"
    (cd "$root" && find . -print0 | cpio --null --quiet -o -H newc | gzip -1) >"$work/initramfs"
}

boot() {
    image=$(find "$kernel/whole" -name 'vmlinu[xz]*' -type f | head -n 1)
    processors=2
    case $1 in
    amd64) machine="qemu-system-x86_64 -machine q35 -cpu max" console=ttyS0 ;;
    arm64)
        machine="qemu-system-aarch64 -machine virt -cpu cortex-a72" console=ttyAMA0
        ;;
    armhf)
        machine="qemu-system-arm -machine virt -cpu cortex-a15" console=ttyAMA0
        ;;
    mipsel)
        machine="qemu-system-mipsel -machine malta -cpu 24Kf -vga none" console=ttyS0 processors=1
        ;;
    riscv64)
        machine="qemu-system-riscv64 -machine virt" console=ttyS0
        ;;
    *) echo "no machine for $1" >&2; return 1 ;;
    esac
    # shellcheck disable=SC2086 # lists of words
    timeout 1800 $machine -smp $processors -m 1024 -nographic -no-reboot -nic none -kernel "$image" \
        -initrd "$work/initramfs" -append "console=$console quiet panic=-1 ${backends:+backends=$backends}" </dev/null
}

output_of() { echo "$work/${1%%/*}-${1##*/}${without:+-without-$(echo "$without" | tr ',' '-')}.txt"; }

failed=0
for each; do
    suite=${each%%/*} architecture=${each##*/}
    output=$(output_of "$each")
    prepare_apt "$architecture" >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; exit 69; }
    trap 'tail -n 5 "$work/apt.log" >&2; echo "no tools or no kernel of $each" >&2' EXIT
    unpack_tools "$architecture" 2>>"$work/apt.log"
    unpack_kernel "$suite" "$architecture" 2>>"$work/apt.log"
    trap - EXIT
    initramfs "$architecture"
    echo "booting $version"
    # What the firmware says to a terminal goes.
    boot "$architecture" | sed -u -e 's,\r,,g' -e 's,\x1bc,,g' -e 's,\x1b\[[?0-9;]*[A-Za-z],,g' >"$output" || true
    if ! grep -q '^end ' "$output"; then
        echo "  it did not come to its end: $output" >&2
        failed=1
    fi
done
echo
echo "| kernel${without:+ without $without} | backend | selftest | start, reload, kill, start, stop |"
echo '|---|---|---|---|'
for each; do
    output=$(output_of "$each")
    sed -n -e '/^done /{s/^done \([^ ]*\) \([^ ]*\) \(.*\)$/| \1 | \2 | \3 |/;h;}' \
        -e '/^lived /{s/^lived [^ ]* [^ ]* \(.*\)$/ \1 |/;H;x;s/\n//;p;}' "$output"
    # Without a module a start may fail, but the network may not.
    if [ -n "$without" ]; then
        allowed=' ok$\|; the network lives$'
    else
        allowed=' ok$'
        ! grep -q '^done .* failed' "$output" || failed=1
    fi
    ! grep '^lived ' "$output" | grep -qv "$allowed" || failed=1
    # A row for each backend, at least for one.
    rows=$(grep -c '^done ' "$output" || true) lives=$(grep -c '^lived ' "$output" || true)
    [ "$rows" -gt 0 ] && [ "$rows" -eq "$lives" ] || failed=1
done
exit $failed
