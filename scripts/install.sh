#!/bin/sh
# Installs, upgrades and removes snet: one binary, one systemd unit, one configuration file, and what
# `man snet` and the shells read.
#
#   sudo scripts/install.sh              install, or upgrade what is installed
#   sudo scripts/install.sh --remove     stop it and take it away; the configuration stays
#   sudo scripts/install.sh --purge      the configuration goes too, and the answers in /var/lib/snet
#
# --binary FILE   the binary to install; default: target/release/snet, or snet beside this script
# PREFIX          default /usr/local: the binary goes to $PREFIX/bin
# DESTDIR         put everything below this directory instead of / (packagers, tests)
#
# A configuration that is there is never touched. snet is started only with one that has been
# edited and that `snet check` accepts.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
DESTDIR=${DESTDIR-}
PREFIX=${PREFIX-/usr/local}
program=$DESTDIR$PREFIX/bin/snet
folder=$DESTDIR/etc/snet
config=$folder/config.toml
unit=$DESTDIR/etc/systemd/system/snet.service
# Below $PREFIX/share, each with where it is from.
pages='
    man/man8/snet.8:man/snet.8
    bash-completion/completions/snet:completions/snet.bash
    zsh/site-functions/_snet:completions/_snet
    fish/vendor_completions.d/snet.fish:completions/snet.fish'

say() { printf '%s\n' "$*"; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"; }

# systemd runs this machine (sd_booted(3)).
has_systemd() { [ -d "$DESTDIR/run/systemd/system" ] && command -v systemctl >/dev/null; }

# Puts standard input at $2 with mode $1, whole or not at all; a running binary may be replaced.
put() {
    mkdir -p "$(dirname "$2")"
    (umask 077 && cat >"$2.new") && chmod "$1" "$2.new" && mv -f "$2.new" "$2"
}

install_snet() {
    [ -n "$binary" ] || for binary in "$here/../target/release/snet" "$here/snet" ''; do
        [ ! -f "$binary" ] || break
    done
    [ -n "$binary" ] || fail "no binary: run 'cargo build --release' first, or name one with --binary FILE"
    new=$("$binary" --version) || fail "$binary does not run on this machine"

    example=$here/../config.example.toml
    [ -f "$example" ] || example=$here/config.example.toml
    service=$here/systemd/snet.service
    for file in "$example" "$service"; do [ -f "$file" ] || fail "$file is missing"; done
    for page in $pages; do
        [ -f "$here/${page#*:}" ] || fail "$here/${page#*:} is missing"
    done

    if [ -x "$program" ]; then
        say "upgrading $("$program" --version || echo 'what is there') to $new"
    else
        say "installing $new"
    fi
    put 755 "$program" <"$binary"
    say "  $program"
    sed "s|^\(Exec[A-Za-z]*=-\{0,1\}\)snet |\1$PREFIX/bin/snet |" "$service" | put 644 "$unit"
    say "  $unit"
    for page in $pages; do put 644 "$DESTDIR$PREFIX/share/${page%%:*}" <"$here/${page#*:}"; done
    say "  $DESTDIR$PREFIX/share: the manual page, completions for bash, zsh and fish"
    if [ -e "$config" ]; then
        say "  $config is kept as it is"
    else
        mkdir -p "$folder"
        chmod 755 "$folder"
        put 600 "$config" <"$example"
        say "  $config, an example: write your proxy into it"
    fi
    start
}

start() {
    if ! has_systemd; then
        say "no systemd here: nothing is started; run: snet -c ${config#"$DESTDIR"}"
        return
    fi
    systemctl daemon-reload
    was_active=false
    systemctl --quiet is-active snet.service && was_active=true
    if cmp -s "$config" "$example"; then
        say "next: edit $config, then: systemctl enable --now snet"
    elif ! complaint=$("$program" check -c "$config" 2>&1); then
        printf '%s\n' "$complaint" >&2
        if $was_active; then
            say "the snet that runs is left alone" >&2
        fi
        fail "$config is not right; mend it, then: systemctl enable --now snet; systemctl restart snet"
    elif $was_active; then
        systemctl restart snet.service
        say "snet has been restarted"
    else
        systemctl enable --now snet.service
        say "snet runs, and will after every boot; its log: journalctl -u snet"
    fi
}

remove_snet() {
    if has_systemd && [ -e "$unit" ]; then
        systemctl disable --now snet.service || say "snet.service was not active" >&2
    fi
    # Also what a killed snet has left in the kernel; not that of the machine a package is made on.
    if [ -z "$DESTDIR" ] && [ -x "$program" ]; then
        "$program" cleanup || say "a rule or set of snet may be left" >&2
    fi
    rm -f "$program" "$unit"
    for page in $pages; do rm -f "$DESTDIR$PREFIX/share/${page%%:*}"; done
    if has_systemd; then
        systemctl daemon-reload
    fi
    if $purge; then
        rm -rf "$folder" "$DESTDIR/var/lib/snet"
        say "snet and its configuration are removed"
    elif [ -e "$config" ]; then
        say "snet is removed; $config is kept (--purge removes it)"
    else
        say "snet is removed"
    fi
}

action=install_snet
purge=false
binary=
while [ $# -gt 0 ]; do
    case $1 in
    --binary)
        [ $# -gt 1 ] || fail "--binary needs a file"
        binary=$2
        shift
        ;;
    --remove) action=remove_snet ;;
    --purge) action=remove_snet purge=true ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 64 ;;
    esac
    shift
done
[ -n "$DESTDIR" ] || [ "$(id -u)" -eq 0 ] || fail "run it as root: sudo $0"
$action
