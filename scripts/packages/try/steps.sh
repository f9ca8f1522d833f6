#!/bin/sh
# Inside a booted root: a package of snet is installed, started, upgraded and removed. Each step that was seen to
# do what it should is a line "seen: ..."; the first that does not ends it.
#
#   steps.sh KIND
set -eu

kind=$1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive
old=$(ls /try/*0.1.0*) new=$(ls /try/*0.1.1*)
config=/etc/snet/config.toml

seen() { echo "seen: $*"; }
fail() { echo "wrong: $*"; diagnose || true; exit 1; }
diagnose() {
    snet check || true
    case $manager in
    systemd) systemctl status --no-pager snet.service; journalctl --no-pager -u snet | tail -n 20 ;;
    openrc) rc-service snet status; ps ax ;;
    esac
}

case $kind in
deb)
    put() { dpkg -i "$1"; }
    remove() { dpkg -r snet; }
    ;;
rpm)
    # Nothing else of this root is known to rpm.
    put() { rpm -U --nodeps "$1"; }
    remove() { rpm -e snet; }
    ;;
arch)
    mkdir -p /var/lib/pacman
    put() { pacman -U --noconfirm -dd "$1"; }
    remove() { pacman -R --noconfirm snet; }
    ;;
alpine)
    if command -v apk; then
        apk add --initdb --allow-untrusted --no-network --arch "$(uname -m)" || true
        put() { apk add --allow-untrusted --no-network "$1"; }
        remove() { apk del --no-network snet; }
    else
        # The order of apk.
        put() {
            step=.post-install
            [ ! -e /usr/bin/snet ] || step=.post-upgrade
            tar -C / -xzf "$1" --warning=no-unknown-keyword
            /$step
        }
        remove() { /.pre-deinstall; rm -r /usr/bin/snet /usr/share/snet /etc/init.d/snet; }
    fi
    ;;
esac
case $kind in
alpine)
    manager=openrc
    start() { rc-update add snet default; rc-service snet start; }
    reload() { rc-service snet reload; }
    is_active() { rc-service snet status >/dev/null 2>&1; }
    is_enabled() { [ -e /etc/runlevels/default/snet ]; }
    process() {
        for each in /proc/[0-9]*; do
            if tr '\0' ' ' <"$each/cmdline" 2>/dev/null | grep -q '^/usr/bin/snet -c '; then
                echo "${each#/proc/}"
                return
            fi
        done
    }
    ;;
*)
    manager=systemd
    start() { systemctl enable --now snet; }
    reload() { systemctl reload snet; }
    is_active() { systemctl --quiet is-active snet; }
    is_enabled() { systemctl --quiet is-enabled snet 2>/dev/null; }
    process() { systemctl show -p MainPID snet | sed 's/.*=//'; }
    ;;
esac
# snet's own word, by the control socket.
answers() {
    tries=100
    until snet status >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.2
    done
}
has_rules() { { iptables-save; ip6tables-save; nft list ruleset; } 2>/dev/null | grep -qi snet; }

put "$old"
[ "$(stat -c %a $config)" = 600 ] || fail "the configuration is open to others"
cmp -s $config /usr/share/snet/config.example.toml || fail "the configuration is not the example"
! is_active || fail "an example runs"
! is_enabled || fail "it is enabled before anybody has said so"
[ -s /usr/share/doc/snet/licences.txt.gz ] || fail "no licences"
seen "installed: an example of mode 600, nothing started"

printf '[[proxy]]\ntype = "http"\nserver = "192.0.2.9:8080"\n' >$config
start || fail "the start"
answers || fail "no answer"
is_active || fail "not active"
has_rules || fail "no rules"
was=$(process)
[ -n "$was" ] || fail "no process"
seen "started: $(snet status | head -n 1), process $was"

echo 'mode = "router"' >/new
cat $config >>/new
sed 's/router/local/' /new >$config
reload || fail "the reload"
[ "$(process)" = "$was" ] || fail "a reload has started another process"
seen "reloaded: the same process"

cp $config /edited
put "$new"
answers || fail "no answer after an upgrade"
is_active || fail "not active after an upgrade"
[ "$(process)" != "$was" ] || fail "the old program still runs"
cmp -s $config /edited || fail "the configuration was changed"
has_rules || fail "no rules after an upgrade"
was=$(process)
seen "upgraded: the configuration kept, the new program runs, process $was"

echo nonsense >>$config
put "$old" || case $kind in rpm) rpm -U --nodeps --oldpackage "$old" ;; *) fail "back to the old version" ;; esac
[ "$(process)" = "$was" ] || fail "a wrong file has ended the running snet"
answers || fail "no answer any more"
seen "a file that this version refuses: the running snet goes on, process $was"

remove
! is_active || fail "it runs after its removal"
! has_rules || fail "rules are left"
[ ! -e /usr/bin/snet ] || fail "the program is left"
[ ! -e /usr/share/snet ] || fail "its folder is left"
[ -e $config ] || fail "the configuration is gone"
seen "removed: no process, no rules, the configuration kept"

if [ "$kind" = deb ]; then
    dpkg -P snet
    left=$(find /etc /var/lib /usr /run -name '*snet*' ! -path '/var/lib/dpkg/*' | tr '\n' ' ')
    [ -z "$left" ] || fail "left: $left"
    ! dpkg -s snet 2>/dev/null || fail "dpkg still knows it"
    seen "purged: nothing left"
fi
seen all
