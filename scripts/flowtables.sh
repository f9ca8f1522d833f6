#!/bin/sh
# Runs a program, a test of the rules for instance, in a kernel that has flowtables, on a machine whose
# own kernel was built without (CONFIG_NF_FLOW_TABLE): user-mode Linux, on this machine's files.
#
#   scripts/flowtables.sh KERNEL PROGRAM [ARGUMENT]...
#
# KERNEL is the executable `linux` that the source of a kernel gives:
#
#   make ARCH=um defconfig
#   scripts/kconfig/merge_config.sh -m .config SNET/scripts/flowtables.config
#   make ARCH=um olddefconfig && make ARCH=um linux
#
# (On a processor with AMX, Linux before 6.2 has to be given more room for the registers: HOST_FP_SIZE
# in arch/x86/um/user-offsets.c, 12288.) The tests of offloading, for example:
#
#   scripts/flowtables.sh ./linux target/debug/deps/snet-* nftables::offload --test-threads 1
#
# Root of that kernel writes to this machine's files with the rights of who calls this. Its network is
# its own, with nothing but loopback. The exit code is the program's.
set -eu

[ $# -ge 2 ] || { sed -n '2,6p' "$0" >&2; exit 64; }
kernel=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What is run: this folder, this environment, these arguments.
{
    echo "cd '$PWD'"
    env | sed -n "s/^\(CARGO[A-Z_]*\|SNET[A-Z_]*\|RUST[A-Z_]*\)=\(.*\)/export \1='\2'/p"
    printf 'set --'
    for argument; do
        printf " '%s'" "$(printf %s "$argument" | sed "s/'/'\\\\''/g")"
    done
    echo
} >"$work/what"
cat >"$work/init" <<EOF
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm 2>/dev/null
ip link set lo up
. $work/what
"\$@" >$work/said 2>&1 </dev/null
echo \$? >$work/code
echo o >/proc/sysrq-trigger
sleep 60
EOF
chmod +x "$work/init"
TMPDIR=${TMPDIR:-/dev/shm} "$kernel" mem=2G root=/dev/root rootfstype=hostfs rootflags=/ rw quiet \
    init="$work/init" con=null con0=null,fd:2 </dev/null >"$work/console" 2>&1 || true
[ ! -e "$work/said" ] || cat "$work/said"
[ -e "$work/code" ] || { tail -20 "$work/console" >&2; exit 70; }
exit "$(cat "$work/code")"
