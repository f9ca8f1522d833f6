#!/bin/sh
# In a static PIE for MIPS that zig links, a weak function that is not there is not null.
#
# A program asks for a weak function that no library has, as Rust's std does before it starts another program
# (posix_spawn_file_actions_addchdir_np, pidfd_spawnp), and calls it if its address is not null. In an executable
# that can lie anywhere (-static-pie) the address comes from the global offset table, whose local entries on MIPS
# all get the place added at which the program was loaded. The entry of the absent function is among them: 0
# becomes the beginning of the program, and whoever calls it dies by SIGSEGV. Other processors' tables are told of
# each entry by itself and leave it null, and so does an executable for MIPS at a fixed place.
#
# Output seen (ziglang 0.15.2 of PyPI, qemu-user-static 1:7.2+dfsg-7+deb12u18+b3, Debian 12, amd64):
#   mipsel, static PIE: there
#   mipsel, at a fixed place: null
#   aarch64, static PIE: null
#   aarch64, at a fixed place: null
#
# Needs: Debian's archive, PyPI, python3 with venv. Sends nothing else.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get -qq -o APT::Sandbox::User=root download 'qemu-user-static=1:7.2+dfsg-7+deb12u*' >/dev/null
for file in ./*.deb; do dpkg -x "$file" .; done
python3 -m venv zig
zig/bin/pip --quiet install ziglang==0.15.2
cat >weak.c <<'C'
#include <stdio.h>

extern int nowhere(void) __attribute__((weak));

int main(void)
{
    puts(nowhere ? "there" : "null");
    return 0;
}
C
for processor in mipsel-linux-musleabi aarch64-linux-musl; do
    for kind in 'static PIE' 'at a fixed place'; do
        case $kind in *PIE) flags='-static-pie -fPIE' ;; *) flags='-static -fno-pie' ;; esac
        # shellcheck disable=SC2086 # a list of words
        zig/bin/python3 -m ziglang cc -target "$processor" $flags -Wno-unused-command-line-argument -O1 -o weak weak.c
        name=${processor%%-*}
        echo "$name, $kind: $("usr/bin/qemu-$name-static" ./weak)"
    done
done >seen
cat seen
printf '%s\n' 'mipsel, static PIE: there' 'mipsel, at a fixed place: null' 'aarch64, static PIE: null' \
    'aarch64, at a fixed place: null' | diff - seen
