#!/bin/sh
# The tests of the library on other processors, in user-mode emulation of qemu.
#
#   scripts/emulated.sh [TARGET...]
#
# TARGET is a target of scripts/static.sh, which builds the tests (aarch64-unknown-linux-musl and
# armv7-unknown-linux-musleabihf by default). Needs, of Debian: qemu-user-static.
#
# The emulator passes on neither every socket option (SO_MARK, IP_TRANSPARENT) nor netfilter's netlink.
# The tests in firewall::tests are about a real kernel, so they are left out. Of the others one that fails
# is excused only if the emulator said so to it ("Protocol not available", for instance): the reasons are
# counted. Every other failure is one. What is excused here runs on real kernels of these processors, in
# scripts/kernels.sh.
set -eu

cd -- "$(CDPATH='' dirname -- "$0")/.."
[ $# -gt 0 ] || set -- aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf
place=target/static
threads=${SNET_TEST_THREADS:-4}

emulator() {
    case $1 in
    armv7-*) echo qemu-arm-static ;;
    riscv64gc-*) echo qemu-riscv64-static ;;
    *) echo "qemu-${1%%-*}-static" ;;
    esac
}

for target; do
    command -v "$(emulator "$target")" >/dev/null || {
        echo "$(emulator "$target") is not installed (package qemu-user-static)" >&2
        exit 69
    }
done
scripts/static.sh --tests "$@"
failed=0
for target; do
    output=$place/tests-$target.txt
    # One that hangs is a failure; the emulator is about ten times as slow as the processor.
    for tests in "$place/tests-$target" "$place/tests-$target-engine"; do
        timeout 1800 "$(emulator "$target")" "$tests" --test-threads "$threads" \
            --skip firewall::tests 2>&1 || true
    done >"$output"
    if [ "$(grep -c '^test result: ' "$output")" -ne 2 ]; then
        echo "$target: the tests did not come to their end: $output" >&2
        failed=1
        continue
    fi
    awk -v target="$target" '
        /^---- .* stdout ----$/ { close_one(); name = $2; reason = ""; next }
        /^failures:$/ { close_one() }
        name != "" && /Protocol not available|ENOPROTOOPT/ { reason = "socket options (ENOPROTOOPT)" }
        name != "" && /invalid getsockopt implementation/ { reason = "TCP_INFO (four bytes of it)" }
        name != "" && /Protocol not supported|EPROTONOSUPPORT/ { reason = "netlink (EPROTONOSUPPORT)" }
        name != "" && /Function not implemented|ENOSYS/ { reason = "system calls (ENOSYS)" }
        /^test result: / {
            sub(/^test result: [^ ]* /, "")
            result = result (result == "" ? "" : " and ") $0
        }
        function close_one() {
            if (name == "") return
            if (reason == "") broken = broken "\n  " name
            else excused[reason]++
            name = ""
        }
        END {
            print target ": " result
            for (reason in excused) print "  the emulator lacks " reason ": " excused[reason] " excused"
            if (broken != "") { print "  FAILED:" broken; exit 1 }
        }' "$output" || failed=1
done
exit $failed
