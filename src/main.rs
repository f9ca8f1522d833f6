//! The binary: everything is in the library, see [`snet::cli`].

use std::process::ExitCode;

/// musl's own allocator maps and unmaps memory at every other connection.
#[cfg(all(target_env = "musl", feature = "dlmalloc"))]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    snet::cli::main()
}
