//! SHA-256, by sha256sum: the judge of what arrived is not a library that the program also uses.

use crate::tools;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A digest in the making.
#[derive(Debug)]
pub struct Digest(Child);

impl Digest {
    pub fn new() -> Self {
        let child = Command::new(tools::path("sha256sum"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sha256sum starts");
        Digest(child)
    }

    pub fn add(&mut self, bytes: &[u8]) {
        let stdin = self.0.stdin.as_mut().expect("stdin is a pipe");
        stdin.write_all(bytes).expect("sha256sum reads");
    }

    /// In hexadecimal.
    pub fn end(mut self) -> String {
        drop(self.0.stdin.take());
        let mut line = String::new();
        let mut stdout = self.0.stdout.take().expect("stdout is a pipe");
        stdout.read_to_string(&mut line).expect("sha256sum writes text");
        self.0.wait().expect("a child can be waited for");
        line.split_whitespace().next().expect("sha256sum writes a digest").to_owned()
    }

    pub fn of(bytes: &[u8]) -> String {
        let mut digest = Digest::new();
        digest.add(bytes);
        digest.end()
    }

    pub fn of_file(path: &Path) -> String {
        let mut file = std::fs::File::open(path).expect("the file is there");
        Self::of_reader(&mut file).expect("the file can be read")
    }

    /// Of everything up to the end; `None` if it breaks off.
    pub fn of_reader(reader: &mut impl Read) -> Option<String> {
        let mut digest = Digest::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Some(digest.end()),
                Ok(length) => digest.add(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    digest.end();
                    return None;
                }
            }
        }
    }
}
