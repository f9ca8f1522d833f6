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
# counted. It is about ten times as slow as the processor, too: what fails for no such reason runs once more
# by itself, and is named. Every other failure is one. What is excused here runs on real kernels of these
# processors, in scripts/kernels.sh.
set -eu

cd -- "$(CDPATH='' dirname -- "$0")/.."
[ $# -gt 0 ] || set -- aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf
place=target/static
threads=${SNET_TEST_THREADS:-2}

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

# Each test that failed: what the emulator said it lacks (or "-"), and the name.
failures() {
    awk '
        function close_one() {
            if (name != "") print reason "\t" name
            name = ""
        }
        /^---- .* stdout ----$/ { close_one(); name = $2; reason = "-"; next }
        /^failures:$/ { close_one() }
        /Protocol not available|ENOPROTOOPT/ { reason = "socket options (ENOPROTOOPT)" }
        /invalid getsockopt implementation/ { reason = "TCP_INFO (four bytes of it)" }
        /Protocol not supported|EPROTONOSUPPORT/ { reason = "netlink (EPROTONOSUPPORT)" }
        /Function not implemented|ENOSYS/ { reason = "system calls (ENOSYS)" }
        END { close_one() }' "$1"
}

# The tests of one file: how many passed, what is excused and why, and what is not.
run() {
    emulator=$1 tests=$2
    # One that hangs is a failure.
    timeout 3600 "$emulator" "$tests" --test-threads "$threads" --skip firewall::tests >"$tests.txt" 2>&1 || true
    result=$(sed -n 's/^test result: [^ ]* //p' "$tests.txt")
    if [ -z "$result" ]; then
        echo "${tests##*/}: did not come to its end: $tests.txt" >&2
        return 1
    fi
    echo "${tests##*/}: $result"
    failures "$tests.txt" >"$tests.failures"
    cut -f 1 "$tests.failures" | grep -vx -e - | sort | uniq -c |
        while read -r count reason; do echo "  the emulator lacks $reason: $count excused"; done
    broken=0
    while read -r reason name; do
        [ "$reason" = - ] || continue
        if timeout 600 "$emulator" "$tests" --exact "$name" >"$tests.alone.txt" 2>&1 </dev/null; then
            echo "  late among the others, passes alone: $name"
        else
            echo "  FAILED: $name"
            broken=1
        fi
    done <"$tests.failures"
    return $broken
}

scripts/static.sh --tests "$@"
failed=0
for target; do
    for tests in "$place/tests-$target" "$place/tests-$target-engine"; do
        run "$(emulator "$target")" "$tests" || failed=1
    done
done
exit $failed
