//! The binary: everything is in the library, see [`snet::cli`].

use std::process::ExitCode;

#[cfg(any(test, all(target_env = "musl", feature = "dlmalloc")))]
mod allocator;
#[cfg(any(test, target_env = "musl"))]
mod memcmp;

fn main() -> ExitCode {
    snet::cli::main()
}
