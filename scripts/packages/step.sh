#!/bin/sh
# What a package of snet does when its files are there and before they go, whatever kind of package it is;
# installed as /usr/share/snet/package-step.
#
#   package-step installed   make /etc/snet/config.toml of the example, unless there is one; start nothing
#   package-step upgraded    the same; a running snet goes on with the new program, unless that refuses the file
#   package-step removing    stop snet and take its rules away; the configuration stays
#
# IPKG_INSTROOT and DPKG_ROOT: the root of another machine (an image that is being built). Nothing is run then.
set -eu

root=${IPKG_INSTROOT:-${DPKG_ROOT-}}
folder=/etc/snet
config=$folder/config.toml
log='look into the system log'

say() { printf 'snet: %s\n' "$*"; }
warn() { say "$@" >&2; }

# Who starts and stops services here, if anybody does (sd_booted(3) for systemd).
if [ -n "$root" ]; then
    manager=none
elif [ -d /run/systemd/system ]; then
    manager=systemd log='journalctl -u snet'
    next='systemctl enable --now snet'
elif [ -e /run/openrc/softlevel ]; then
    manager=openrc
    next='rc-update add snet; rc-service snet start'
elif [ -e /etc/rc.common ]; then
    manager=procd log='logread -e snet'
    next='uci set snet.main.enabled=1; uci commit snet; /etc/init.d/snet start'
    config=$(uci -q get snet.main.config || echo "$config")
else
    manager=none
fi

# Debian's own obeys policy-rc.d.
systemd() {
    if command -v deb-systemd-invoke >/dev/null; then
        deb-systemd-invoke "$@" snet.service
    else
        systemctl "$@" snet.service
    fi
}

runs() {
    case $manager in
    systemd) systemctl --quiet is-active snet.service ;;
    openrc) rc-service --quiet snet status >/dev/null 2>&1 ;;
    procd) pgrep -f "^/usr/bin/snet -c " >/dev/null ;;
    none) false ;;
    esac
}

restart() {
    case $manager in
    systemd) systemd restart ;;
    openrc) rc-service snet restart ;;
    procd) /etc/init.d/snet restart ;;
    esac
}

files() {
    if [ -z "$root" ] && ! /usr/bin/snet --version >/dev/null; then
        warn "this package is not for this machine ($(uname -m))"
        exit 1
    fi
    case $manager in
    systemd) systemctl daemon-reload || true ;;
    procd) /etc/init.d/snet enable || true ;;
    esac
    [ ! -e "$root$config" ] || return 0
    mkdir -p "$root$folder"
    # It will hold a password.
    (umask 077 && cp "$root/usr/share/snet/config.example.toml" "$root$folder/config.toml")
    say "write your proxy into $folder/config.toml, then: ${next:-snet -c $folder/config.toml}"
}

upgrade() {
    files
    runs || return 0
    if ! /usr/bin/snet check -c "$config" >/dev/null; then
        warn "$config is not right for this version; the old snet goes on until it is restarted"
    elif ! restart; then
        warn "it did not start again: $log"
    fi
}

remove() {
    case $manager in
    systemd)
        systemd stop || warn "snet.service could not be stopped"
        # Debian leaves that to a purge.
        command -v deb-systemd-invoke >/dev/null || systemctl --quiet disable snet.service || true
        ;;
    openrc)
        ! runs || rc-service snet stop || warn "it could not be stopped"
        rc-update --quiet delete snet 2>/dev/null || true
        ;;
    procd)
        /etc/init.d/snet stop || warn "it could not be stopped"
        /etc/init.d/snet disable || true
        ;;
    esac
    # Also what a killed snet has left in the kernel.
    [ -n "$root" ] || /usr/bin/snet cleanup || warn "a rule or set of snet may be left"
}

case ${1-} in
installed) files ;;
upgraded) upgrade ;;
removing) remove ;;
*)
    sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
    exit 64
    ;;
esac
