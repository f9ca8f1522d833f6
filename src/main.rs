//! The binary: everything is in the library, see [`snet::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    snet::cli::main()
}
