#!/bin/sh
# What is in an executable of snet: a bill of materials (CycloneDX) of all crates, and the texts of their licences,
# in target/packages/parts, where scripts/packages.sh takes them from.
#
#   scripts/packages/parts.sh [TARGET]
#
# TARGET is a target of Rust, x86_64-unknown-linux-musl by default: crates for other systems are left out. A tool of
# crates.io, cargo-cyclonedx, is built first, once. Needs python3.
set -eu

cyclonedx=0.5.9

cd -- "$(CDPATH='' dirname -- "$0")/../.."
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
target=${1:-x86_64-unknown-linux-musl}
parts=$PWD/target/packages/parts
tools=$PWD/target/packages/tools
mkdir -p "$parts"
export CARGO_TARGET_DIR="$PWD/target/packages/build"

if [ ! -x "$tools/bin/cargo-cyclonedx" ]; then
    cargo install --quiet --locked --root "$tools" cargo-cyclonedx --version $cyclonedx
fi
PATH=$tools/bin:$PATH

# Without a number and a time of its own, so that it can be made again.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH
# It writes beside the manifest of each crate of the workspace.
clear() { rm -f snet.bom.json engine/snet.bom.json lab/snet.bom.json; }
trap clear EXIT
cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$target" --no-build-deps \
    --override-filename snet.bom
# Nothing of this machine in it.
sed "s|file://$PWD|file:///snet|g" snet.bom.json >"$parts/sbom.cdx.json"

python3 scripts/packages/licences.py "$target" | gzip -9n >"$parts/licences.txt.gz"
ls -l "$parts"
