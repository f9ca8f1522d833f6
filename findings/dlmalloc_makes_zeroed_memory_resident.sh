#!/bin/sh
# The dlmalloc crate as global allocator of Rust: zeroed memory is resident before anybody writes to it, and what
# is large stays resident after it was freed.
#
# A program takes 8 MiB by `vec![0; n]`, touches nothing, and frees them beneath a small allocation that lives on.
# With glibc nothing is resident in between, and nothing is kept: it maps what is large by itself (as musl does from
# 128 KiB on), and the kernel's pages are zero already. The crate has no such way: the functions for mapped chunks are
# there, but malloc takes none. calloc clears what it gives, since it cannot know that the pages are new, and what is
# freed goes back only from the top of the heap.
#
# So buffers that are large "because the kernel gives memory only to what is written to" cost all of it.
#
# Output seen (dlmalloc 0.2.14, rustc 1.95.0, glibc 2.36, Linux 6.18, amd64):
#   the C library's: resident 0 MiB after vec![0; 8 MiB], 0 MiB after it was freed
#   dlmalloc: resident 8 MiB after vec![0; 8 MiB], 8 MiB after it was freed
#
# Needs: cargo with a registry. Sends nothing.
set -eu

PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "zeroed"
version = "0.0.0"
edition = "2021"

[dependencies]
dlmalloc = { version = "=0.2.14", features = ["global"] }

[features]
crate = []

[workspace]
TOML
cat >"$folder/src/main.rs" <<'RUST'
#[cfg(feature = "crate")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

const SIZE: usize = 8 << 20;

/// Resident memory that is no file's, in MiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

fn main() {
    let before = resident();
    let large = std::hint::black_box(vec![0u8; SIZE]);
    let taken = resident() - before;
    // It lies above the large one.
    let small = std::hint::black_box(vec![1u8; 1000]);
    drop(large);
    let kept = resident() - before;
    println!("resident {taken} MiB after vec![0; 8 MiB], {kept} MiB after it was freed");
    drop(small);
}
RUST
export CARGO_TARGET_DIR="$folder/target"
run() { (cd "$folder" && cargo run --quiet --release "$@"); }
seen="the C library's: $(run)
dlmalloc: $(run --features crate)"
echo "$seen"
expected="the C library's: resident 0 MiB after vec![0; 8 MiB], 0 MiB after it was freed
dlmalloc: resident 8 MiB after vec![0; 8 MiB], 8 MiB after it was freed"
[ "$seen" = "$expected" ] || { echo "it is no longer so" >&2; exit 1; }
