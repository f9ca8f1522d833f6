#!/bin/sh
# Makes all that a release consists of, in target/release-VERSION: static executables, whole and small, the packages of
# them, the bill of materials, the licences, the notes, and SHA256SUMS of everything.
#
#   scripts/release.sh [--draft] [--built] [TARGET...]
#
# TARGET is as for scripts/static.sh; x86_64, aarch64, armv7, riscv64 and mipsel by default. VERSION is that of
# Cargo.toml, and CHANGELOG.md has to have a section of it, which becomes the notes. --draft takes the section
# "Unreleased" where there is one, and a tree that has changes. --built takes what is in target/static and builds nothing.
#
# Nothing is published. Needs what scripts/static.sh and scripts/packages.sh need.
set -eu

cd -- "$(CDPATH='' dirname -- "$0")/.."
draft='' built=''
while :; do
    case ${1-} in
    --draft) draft=yes ;;
    --built) built=yes ;;
    -*) sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 64 ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf \
    riscv64gc-unknown-linux-musl mipsel-unknown-linux-musl

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
section=$version
[ -z "$draft" ] || ! grep -q '^## Unreleased' CHANGELOG.md || section=Unreleased
if [ -z "$draft" ] && [ -n "$(git status --porcelain)" ]; then
    echo "release.sh: the tree has changes that no commit has (git status); --draft takes them" >&2
    exit 65
fi
# "## 0.2.0" or "## 0.2.0 - 2026-12-01", up to the next section.
notes=$(awk -v section="$section" '/^## / { inside = $2 == section; next } inside' CHANGELOG.md)
if [ -z "$(echo "$notes" | tr -d '[:space:]')" ]; then
    echo "release.sh: CHANGELOG.md has no section \"## $section\" with something in it" >&2
    exit 65
fi

folder=target/release-$version
rm -rf "$folder"
mkdir -p "$folder"
if [ -z "$built" ]; then
    scripts/static.sh "$@"
    scripts/static.sh --small "$@"
fi
scripts/packages/parts.sh
scripts/packages/all.sh "$folder" "$@"
for target; do
    for kind in '' -small; do
        executable=target/static/snet-$target$kind
        if [ -f "$executable" ]; then
            cp "$executable" "$folder/snet-$version-${target%%-*}$kind"
        elif [ -n "$built" ]; then
            echo "left out: $executable is not there" >&2
        else
            echo "release.sh: $executable was not made" >&2
            exit 69
        fi
    done
done
cp target/packages/parts/sbom.cdx.json "$folder/snet-$version.cdx.json"
cp target/packages/parts/licences.txt.gz "$folder/"
echo "$notes" >"$folder/NOTES.md"
(cd "$folder" && rm -f SHA256SUMS && sha256sum -- * >SHA256SUMS.new && mv SHA256SUMS.new SHA256SUMS)
(cd "$folder" && ls -l)
