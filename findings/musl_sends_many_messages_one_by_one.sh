#!/bin/sh
# sendmmsg(2) of musl on 64-bit processors is no system call: it calls sendmsg for each message.
#
# A program hands over 8 datagrams in one sendmmsg. With glibc that is one system call; whoever links the same
# program statically with musl, as programs for routers are, expects the same.
#
# POSIX wants other types in struct msghdr and struct cmsghdr than the kernel has where a long has 64 bits. glibc
# takes the kernel's. musl takes those of POSIX: its sendmsg copies the header and the control messages with the
# padding cleared, and its sendmmsg does not copy many, but loops over sendmsg (src/network/sendmmsg.c). Its
# recvmmsg is one system call: there the padding is cleared in place. So batches save nothing when they leave, and
# each datagram costs an entry into the kernel; trains (UDP_SEGMENT) are one message and keep their gain.
#
# Output seen (musl 1.2.3-1, glibc 2.36, strace 6.1-0.1, Debian 12, amd64):
#   glibc: 1 sendmmsg, 0 sendmsg
#   musl: 0 sendmmsg, 8 sendmsg
#
# Needs: Debian's archive, gcc with glibc's headers, ptrace. Sends 8 datagrams on loopback, of a namespace of its own.
set -eu

if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    (
        cd "$folder"
        for package in musl=1.2.3-1 musl-dev=1.2.3-1 strace=6.1-0.1; do
            apt-get -qq -o APT::Sandbox::User=root download $package >/dev/null
        done
        for file in ./*.deb; do dpkg -x "$file" .; done
        cat >many.c <<'C'
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sys/socket.h>
#include <netinet/in.h>

int main(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(5300) };
    struct iovec piece = { "hello", 5 };
    struct mmsghdr messages[8] = { 0 };
    int i, receiver = socket(AF_INET, SOCK_DGRAM, 0), sender = socket(AF_INET, SOCK_DGRAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(receiver, (struct sockaddr *)&to, sizeof(to)))
        return 2;
    for (i = 0; i < 8; i++) {
        messages[i].msg_hdr.msg_name = &to;
        messages[i].msg_hdr.msg_namelen = sizeof(to);
        messages[i].msg_hdr.msg_iov = &piece;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    return sendmmsg(sender, messages, 8, 0) == 8 ? 0 : 1;
}
C
        gcc -o of-glibc many.c
        libc=$(dirname "$(find . -name libc.a)")
        include=$(dirname "$(find . -name stdio.h)")
        gcc -static -nostdlib -nostdinc -isystem "$include" -o of-musl "$libc/crt1.o" "$libc/crti.o" many.c \
            "$libc/libc.a" -lgcc "$libc/crtn.o"
    )
    unshare -Urn sh "$0" inside "$folder" >"$folder/seen"
    cat "$folder/seen"
    printf '%s\n' 'glibc: 1 sendmmsg, 0 sendmsg' 'musl: 0 sendmmsg, 8 sendmsg' | diff - "$folder/seen"
    exit
fi

folder=$2
ip link set lo up
for libc in glibc musl; do
    "$folder/usr/bin/strace" -o "$folder/calls" -e trace=sendmmsg,sendmsg "$folder/of-$libc"
    echo "$libc: $(grep -c '^sendmmsg(' "$folder/calls") sendmmsg, $(grep -c '^sendmsg(' "$folder/calls") sendmsg"
done
