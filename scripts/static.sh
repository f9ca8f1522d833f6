#!/bin/sh
# One static executable for each processor, from the registries alone: std for musl, zig as linker and
# C compiler. Puts target/static/snet-TARGET there and prints size and hash of each.
#
#   scripts/static.sh [--small | --tests] [TARGET...]
#
# TARGET is a target of Rust (x86_64-unknown-linux-musl by default; aarch64-unknown-linux-musl,
# armv7-unknown-linux-musleabihf, riscv64gc-unknown-linux-musl, mipsel-unknown-linux-musl).
# --small leaves out what a router with little flash can do without (docs/building.md). --tests builds the
# tests of the library instead, for scripts/emulated.sh. To try something, CARGO_PROFILE_RELEASE_LTO=off
# in the environment makes a larger executable in less time.
#
# std is built from its source (rust-src), for size and without backtraces, which an executable without
# symbols has no names for: 0.5 MiB less. A toolchain without the source gets it by `rustup component add`,
# or std as it comes by `rustup target add`. Without either, as root with debootstrap, this script takes
# rustc, cargo and rust-src of Debian's sid into target/static/debian and goes on in there.
set -eu

zig=0.15.2 zigbuild=0.24.1

cd -- "$(CDPATH='' dirname -- "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin
features='' profile=release kind='' what=snet option=''
case ${1-} in
--small)
    features=--no-default-features profile=small kind=-small option=$1
    ;;
--tests) what=tests option=$1 ;;
esac
[ -z "$option" ] || shift
[ $# -gt 0 ] || set -- x86_64-unknown-linux-musl
place=target/static
mkdir -p $place
tools=$place/tools${SNET_STATIC_INSIDE:+-inside}

# zig and what makes cargo use it, of PyPI.
if [ ! -x $tools/bin/cargo-zigbuild ]; then
    rm -rf $tools
    python3 -m venv $tools
    $tools/bin/pip --quiet install "ziglang==$zig" "cargo-zigbuild==$zigbuild"
fi
PATH=$PWD/$tools/bin:$PATH
export PATH

has_std() { [ -d "$(rustc --print target-libdir --target "$1" 2>/dev/null)" ]; }
has_source() { [ -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library/std" ]; }

# Debian's toolchain, in a folder of its own.
in_debian() {
    root=$place/debian
    if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
        echo "this toolchain has no std for $target: rustup target add $target, or rustup component add rust-src;" >&2
        echo "or run this script as root with debootstrap installed" >&2
        exit 69
    fi
    if [ ! -e $root/done ]; then
        echo "Taking rustc, cargo and rust-src of Debian's sid into $root"
        rm -rf $root
        debootstrap --variant=minbase \
            --include=rustc,cargo,rust-src,gcc,libc6-dev,ca-certificates,python3-venv \
            sid $root >$place/debootstrap.txt
        touch $root/done
    fi
    mkdir -p $root/src
    unshare --mount sh -eu -c '
        root=$1
        shift
        mount --rbind . "$root/src"
        mount --rbind /dev "$root/dev"
        mount -t proc proc "$root/proc"
        cp /etc/resolv.conf "$root/etc/resolv.conf"
        mkdir -p "$root/etc/ssl/certs"
        cat "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" >"$root/etc/ssl/certs/ca-certificates.crt"
        certificates=/etc/ssl/certs/ca-certificates.crt
        exec env -i HOME=/root PATH=/usr/bin:/bin SNET_STATIC_INSIDE=1 SSL_CERT_FILE=$certificates \
            PIP_CERT=$certificates CARGO_HTTP_CAINFO=$certificates \
            $(env | grep "^CARGO_PROFILE_[A-Z_]*=[a-z0-9]*\$") \
            "$(command -v chroot)" "$root" /src/scripts/static.sh "$@"' sh "$PWD/$root" "$@"
}

build() {
    target=$1
    unset RUSTC_BOOTSTRAP
    flags="--remap-path-prefix=$PWD=/snet --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" std=
    flags="$flags --remap-path-prefix=$(rustc --print sysroot)=/rust --remap-path-prefix=engine/../src=src"
    if has_source; then
        # The objects that begin and end a program are zig's.
        flags="$flags -C link-self-contained=no"
        std="-Zbuild-std=std,panic_unwind -Zbuild-std-features=optimize_for_size"
        # A panic ends its connection, as in every build; but one in a destructor ends the small one.
        [ $profile != small ] || flags="$flags -Zpanic-in-drop=abort"
        export RUSTC_BOOTSTRAP=1
    fi
    # A weak function that is not there would be the beginning of the program in one that can lie anywhere
    # (zig 0.15.2), and std asks for some before it starts another program.
    case $target in mipsel-*) flags="$flags -C relocation-model=static" ;; esac
    export RUSTFLAGS="$flags"
    # shellcheck disable=SC2086 # lists of words
    if [ $what = tests ]; then
        for crate in snet snet-engine; do
            # The last line with an executable is that of the tests.
            built=$(cargo-zigbuild test -p $crate --lib --no-run $std --target "$target" \
                --message-format json-render-diagnostics |
                sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
            install -m 755 "$built" "$place/tests-$target${crate#snet}"
        done
    else
        cargo zigbuild --profile $profile $features $std --target "$target"
        install -m 755 "${CARGO_TARGET_DIR:-target}/$target/$profile/snet" "$place/snet-$target$kind"
    fi
}

export CARGO_TARGET_DIR="$place/build$kind"
for target; do
    if ! has_source && command -v rustup >/dev/null; then
        rustup component add rust-src || rustup target add "$target" || true
    fi
    if ! has_std "$target" && ! has_source; then
        [ -z "${SNET_STATIC_INSIDE-}" ] || { echo "Debian's toolchain has no source of std" >&2; exit 69; }
        in_debian ${option:+"$option"} "$@"
        exit
    fi
    build "$target"
done
for target; do
    # The engine's tests are a second file.
    for file in "$what-$target$kind" "$what-$target-engine"; do
        [ ! -e "$place/$file" ] || (cd $place && ls -l "$file" && sha256sum "$file")
    done
done
