//! sendmmsg(2) as the kernel has it.
//!
//! musl makes a call of each message, on processors of 64 bits: its headers have padding where
//! those of the kernel have the upper halves of lengths (musl's include/bits and
//! src/network/sendmmsg.c), and it cannot know that a program has cleared that. nix clears it in
//! all headers, so that they can go as they are, and many answers leave by one call.

use nix::libc::{SYS_sendmmsg, c_int, c_uint, mmsghdr, syscall};

/// Takes the place of musl's function for the whole program.
#[expect(unsafe_code, reason = "the system call has no other name in a program with musl")]
#[unsafe(no_mangle)]
extern "C" fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_uint) -> c_int {
    // SAFETY: whoever calls sendmmsg promises that `messages` has `count` headers, and that what
    // these name lives until it returns. The kernel reads no more than that.
    let sent = unsafe { syscall(SYS_sendmmsg, fd, messages, count, flags) };
    // -1, or as many as there were at most.
    sent as c_int
}
