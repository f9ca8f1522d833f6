//! The web sites, by nginx: `/who` tells the client's address, `/file` is [`file`].

use crate::process::{FOLDER, Place, Running, unprivileged};
use crate::world::{DOMESTIC_SITE, FOREIGN_SITE};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Both sites, on port 80 in both families. `/file` is that file.
pub fn sites(file: Option<&Path>) -> Running {
    let folder = Path::new(FOLDER).join("nginx");
    fs::create_dir_all(&folder).expect("the tmpfs is writable");
    let addresses = DOMESTIC_SITE.both(80).into_iter().chain(FOREIGN_SITE.both(80));
    let listen: String = addresses.map(|address| format!("listen {address};\n")).collect();
    let file = file.map_or(String::new(), |file| {
        format!("location = /file {{ alias {}; }}\n", file.display())
    });
    let text = format!(
        "daemon off; master_process off; worker_processes 1;\n\
         pid {folder}/pid; error_log {folder}/error.log;\n\
         worker_rlimit_nofile 16384; events {{ worker_connections 8192; }}\n\
         http {{ access_log off; sendfile on;\n\
         client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;\n\
         scgi_temp_path {folder}/scgi;\n\
         server {{ {listen} {file} location = /who {{ return 200 \"$remote_addr\\n\"; }} }} }}\n",
        folder = folder.display(),
    );
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, text).expect("the tmpfs is writable");
    let mut command = unprivileged(Place::Internet, "nginx");
    command.arg("-c").arg(configuration).arg("-e").arg(folder.join("error.log"));
    let mut server = Running::start("nginx", &mut command);
    super::wait_for_listener(&mut server, FOREIGN_SITE.both(80)[1]);
    server
}

/// A file of that many bytes in which no two blocks are alike, kept from run to run.
pub fn file(bytes: u64) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{bytes}.bytes"));
    if fs::metadata(&path).is_ok_and(|found| found.len() == bytes) {
        return path;
    }
    // Another test may be doing the same: the name appears when the content is whole.
    let unique = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("proc is mounted");
    let unfinished = path.with_extension(unique.trim());
    let mut out = BufWriter::new(File::create(&unfinished).expect("the target folder is writable"));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..bytes / 8 {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.write_all(&state.to_le_bytes()).expect("the disk has room");
    }
    out.flush().expect("the disk has room");
    fs::rename(&unfinished, &path).expect("the target folder is writable");
    path
}
