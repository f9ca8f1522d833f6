#!/bin/sh
# Inside the namespaces of scripts/packages/try.sh: boots a root and runs steps.sh in it.
#
#   boot.sh KIND ROOT PACKAGES
set -eu

kind=$1 lower=$2 packages=$3
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

mount --make-rprivate /
# What is written goes to memory.
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$lower,upperdir=/mnt/upper,workdir=/mnt/work" none /mnt/root
root=/mnt/root
mkdir -p "$root/try"
mount --bind "$packages" "$root/try"
mount -t proc none "$root/proc"
mount -t sysfs -o ro none "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 none "$root/run"
mount -t tmpfs -o mode=755 none "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=666 none "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
install -m 755 "$here/steps.sh" "$root/steps.sh"
[ -z "${APK-}" ] || install -m 755 "$APK" "$root/usr/bin/apk"
ip link set lo up
# Where the outer output goes, also from within a service.
mkfifo "$root/said"
exec 3<>"$root/said"
cat <&3 &
exec 3<&-
# A service with a sandbox cannot be made where / is only a chroot's.
mkdir "$root/outside"
cd "$root"
pivot_root . outside

case $kind in
alpine)
    exec chroot . /bin/sh -c 'umount -l /outside; mkdir -p /run/openrc && touch /run/openrc/softlevel
        openrc sysinit; openrc boot; openrc default; /steps.sh alpine >/said 2>&1; sleep 1'
    ;;
*)
    cat >etc/systemd/system/steps.service <<EOT
[Service]
Type=oneshot
ExecStart=/bin/sh -c '/steps.sh $kind >/said 2>&1; sleep 1'
ExecStopPost=/bin/systemctl --force --force --no-block poweroff
[Install]
WantedBy=multi-user.target
EOT
    mkdir -p etc/systemd/system/multi-user.target.wants
    ln -s ../steps.service etc/systemd/system/multi-user.target.wants/steps.service
    exec chroot . sh -c 'umount -l /outside; exec env container=lxc /sbin/init'
    ;;
esac
