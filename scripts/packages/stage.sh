#!/bin/sh
# Puts what a package has (scripts/packages/files) below a folder.
#
#   scripts/packages/stage.sh KIND EXECUTABLE FOLDER
#
# KIND is deb, rpm, arch, alpine, nix or openwrt.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
fail() { printf 'stage.sh: %s\n' "$*" >&2; exit 65; }

[ $# -eq 3 ] || { sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 64; }
kind=$1 executable=$2 root=$3
case $kind in
deb) has='all full systemd deb' ;;
rpm | arch) has='all full systemd other' ;;
alpine) has='all full openrc other' ;;
nix) has='all full other' ;;
openwrt) has='all openwrt' ;;
*) fail "there is no package of the kind '$kind'" ;;
esac
parts=${SNET_PARTS:-$here/target/packages/parts}
[ -f "$executable" ] || fail "no executable: $executable"

umask 022
# shellcheck disable=SC2086 # lists of words
grep -v '^#' "$here/scripts/packages/files" | while read -r which mode place sources; do
    case " $has " in *" $which "*) ;; *) continue ;; esac
    for source in $sources; do
        case $source in
        EXECUTABLE) found=$executable ;;
        PARTS/*)
            # Nix builds from the sources, without the net that the tools for these come by.
            [ "$kind" != nix ] || continue
            found=$parts/${source#PARTS/}
            ;;
        *) found=$here/$source ;;
        esac
        # The shell leaves a pattern that nothing matches as it is.
        for file in $found; do
            if [ ! -f "$file" ]; then
                case $source in PARTS/*) fail "$file is missing: run scripts/packages/parts.sh" ;; esac
                fail "$file is missing (see scripts/packages/files)"
            fi
            case $place in */) target=$place${file##*/} ;; *) target=$place ;; esac
            mkdir -p "$root/$(dirname "$target")"
            install -m "$mode" "$file" "$root/$target"
        done
    done
done
