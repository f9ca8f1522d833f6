#!/bin/sh
# In user-mode emulation of MIPS by qemu, TCP_KEEPIDLE is not what was set.
#
# A program sets after how many idle seconds TCP asks whether its peer lives (TCP_KEEPIDLE, tcp(7)) and reads it
# back. The emulator translates the number as if it were an error number of the machine below, for the option has
# the number 4, as SO_ERROR has, and its translation does not look at the level. Where the processors' error
# numbers are the same nothing is seen. Those of MIPS are others from 35 on: 120 comes back as 139. Numbers below
# 35, and those that name no error (600), are told as they are, and so is TCP_KEEPINTVL, which has another number.
# What was set is right: only the answer is not. qemu 7.2 told 120.
#
# Output seen (ziglang 0.15.2 of PyPI, qemu-user 1:10.0.13+ds-0+deb13u1 of Debian 13, on Debian 12, amd64):
#   mipsel: set 20, read 20; set 120, read 139; set 600, read 600; TCP_KEEPINTVL set 120, read 120
#   aarch64: set 20, read 20; set 120, read 120; set 600, read 600; TCP_KEEPINTVL set 120, read 120
#
# Needs: Debian's archive, PyPI, python3 with venv. Sends nothing else.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
# shellcheck disable=SC2016 # apt's own words
mirror=$(apt-get indextargets --format '$(SITE)' | grep '/debian/*$' | head -n 1)
mkdir -p apt/lists/partial apt/archives/partial
echo "deb $mirror trixie main" >apt/sources.list
: >apt/status
cat >apt/conf <<EOT
Dir::State "$folder/apt";
Dir::State::status "$folder/apt/status";
Dir::Cache "$folder/apt";
Dir::Etc::SourceList "$folder/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
APT::Sandbox::User "root";
EOT
export APT_CONFIG="$folder/apt/conf"
apt-get -qq update >/dev/null
apt-get -qq download 'qemu-user=1:10.0*' >/dev/null
for file in ./*.deb; do dpkg -x "$file" .; done
python3 -m venv zig
zig/bin/pip --quiet install ziglang==0.15.2
cat >idle.c <<'C'
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static int comes_back(int option, int seconds)
{
    int file = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof(seconds);

    if (file < 0 || setsockopt(file, IPPROTO_TCP, option, &seconds, sizeof(seconds)) != 0 ||
        getsockopt(file, IPPROTO_TCP, option, &seconds, &length) != 0)
        exit(1);
    return seconds;
}

int main(void)
{
    static const int numbers[] = {20, 120, 600};

    for (int n = 0; n < 3; n++)
        printf("set %d, read %d; ", numbers[n], comes_back(TCP_KEEPIDLE, numbers[n]));
    printf("TCP_KEEPINTVL set 120, read %d\n", comes_back(TCP_KEEPINTVL, 120));
    return 0;
}
C
for processor in mipsel-linux-musleabi aarch64-linux-musl; do
    zig/bin/python3 -m ziglang cc -target "$processor" -static -O1 -o idle idle.c
    name=${processor%%-*}
    echo "$name: $("usr/bin/qemu-$name" ./idle)"
done >seen
cat seen
cat >expected <<'EOT'
mipsel: set 20, read 20; set 120, read 139; set 600, read 600; TCP_KEEPINTVL set 120, read 120
aarch64: set 20, read 20; set 120, read 120; set 600, read 600; TCP_KEEPINTVL set 120, read 120
EOT
diff expected seen
