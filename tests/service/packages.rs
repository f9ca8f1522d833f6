//! What a package has and does; scripts/packages/try.sh installs them in roots of their kind.

use super::{Folder, text};
use snet_lab::executable;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// The header of an ELF file for x86_64, which is all that is looked at.
const EXECUTABLE: [u8; 20] =
    [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x3e, 0];

/// With an executable, and what scripts/packages/parts.sh makes.
fn folder(name: &str) -> Folder {
    let folder = Folder::new(&format!("packages-{name}"));
    fs::write(folder.path("snet"), EXECUTABLE).unwrap();
    fs::create_dir(folder.path("parts")).unwrap();
    for part in ["licences.txt.gz", "sbom.cdx.json"] {
        fs::write(folder.path("parts").join(part), part).unwrap();
    }
    folder
}

fn script(name: &str, arguments: &[&str], folder: &Folder) -> Output {
    Command::new("sh")
        .arg(Path::new(PROJECT).join("scripts").join(name))
        .args(arguments)
        .env("SNET_PARTS", folder.path("parts"))
        .output()
        .unwrap()
}

/// Where the package is.
fn package(kind: &str, processor: &str, folder: &Folder) -> PathBuf {
    let executable = folder.path("snet");
    let to = folder.path("out");
    let arguments = [kind, processor, executable.to_str().unwrap(), to.to_str().unwrap()];
    let output = script("packages.sh", &arguments, folder);
    assert!(output.status.success(), "{}", text(&output));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A name that is wrong in the list, or a file that was moved, is found here and not at a release.
#[test]
fn every_kind_of_package_has_its_files() {
    let usual = [
        "usr/bin/snet",
        "usr/share/doc/snet/LICENSE",
        "usr/share/doc/snet/licences.txt.gz",
        "usr/share/snet/config.example.toml",
        "usr/share/snet/package-step",
    ];
    for (kind, service, pages) in [
        (
            "deb",
            &["usr/lib/systemd/system/snet.service"][..],
            "usr/share/zsh/vendor-completions/_snet",
        ),
        ("rpm", &["usr/lib/systemd/system/snet.service"], "usr/share/zsh/site-functions/_snet"),
        ("arch", &["usr/lib/systemd/system/snet.service"], "usr/share/man/man8/snet.8"),
        ("alpine", &["etc/init.d/snet"], "usr/share/doc/snet/docs/service.md"),
        ("openwrt", &["etc/init.d/snet", "etc/config/snet", "lib/upgrade/keep.d/snet"], ""),
    ] {
        let folder = folder(&format!("files-{kind}"));
        let root = Folder::new(&format!("packages-root-{kind}"));
        let (executable, to) = (folder.path("snet"), root.path(""));
        let arguments = [kind, executable.to_str().unwrap(), to.to_str().unwrap()];
        let output = script("packages/stage.sh", &arguments, &folder);
        assert!(output.status.success(), "{kind}: {}", text(&output));
        let files = root.files();
        let wanted = usual.iter().chain(service).copied();
        for file in wanted.chain(Some(pages).filter(|it| !it.is_empty())) {
            assert!(files.contains(&file.to_owned()), "{kind} lacks {file}: {files:?}");
        }
        // The configuration is nobody's: it holds a password, and everybody edits it.
        assert!(!files.contains(&"etc/snet/config.toml".to_owned()), "{kind}");
        for file in &files {
            let mode = fs::metadata(root.path(file)).unwrap().permissions().mode() & 0o7777;
            let runs = ["/snet", "/package-step"].iter().any(|end| file.ends_with(end))
                && !file.starts_with("etc/config")
                && !file.contains("keep.d")
                && !file.contains("completions");
            assert_eq!(mode, if runs { 0o755 } else { 0o644 }, "{kind}: {file}");
        }
    }
}

#[test]
fn a_package_without_the_licences_of_its_parts_is_not_made() {
    let folder = folder("parts");
    fs::remove_file(folder.path("parts/licences.txt.gz")).unwrap();
    let (executable, to) = (folder.path("snet"), folder.path("out"));
    let arguments = ["deb", "amd64", executable.to_str().unwrap(), to.to_str().unwrap()];
    let output = script("packages.sh", &arguments, &folder);
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("run scripts/packages/parts.sh"), "{said}");
    assert!(!to.join("snet").exists() && fs::read_dir(&to).unwrap().next().is_none());
}

#[test]
fn an_executable_of_another_processor_is_refused() {
    let folder = folder("foreign");
    let executable = folder.path("snet");
    let to = folder.path("out");
    for (kind, processor, why) in [
        ("deb", "arm64", "is for x86_64, not for arm64"),
        ("openwrt-ipk", "mipsel", "is for x86_64, not for mipsel"),
        ("tarball", "amd64", "no kind of package is called 'tarball'"),
    ] {
        let arguments = [kind, processor, executable.to_str().unwrap(), to.to_str().unwrap()];
        let output = script("packages.sh", &arguments, &folder);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(65), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_deb_says_what_it_is() {
    let folder = folder("deb");
    let deb = package("deb", "amd64", &folder);
    let deb = deb.to_str().unwrap();
    let version = concat!(env!("CARGO_PKG_VERSION"), "-1");
    for (field, value) in [
        ("Package", "snet"),
        ("Version", version),
        ("Architecture", "amd64"),
        ("Recommends", "iptables, ipset"),
        // Its executable is static.
        ("Depends", ""),
    ] {
        assert_eq!(run("dpkg-deb", &["-f", deb, field]).trim_end(), value, "{field}");
    }
    let control = folder.path("control");
    run("dpkg-deb", &["-e", deb, control.to_str().unwrap()]);
    let mut names: Vec<_> = fs::read_dir(&control)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // No conffiles: dpkg would ask about a file that everybody has edited, and show its password.
    assert_eq!(names, ["control", "md5sums", "postinst", "postrm", "prerm"]);
    let again = Folder::new("packages-deb-again");
    let copy = again.path("copy");
    fs::copy(deb, &copy).unwrap();
    package("deb", "amd64", &folder);
    assert_eq!(fs::read(&copy).unwrap(), fs::read(deb).unwrap(), "the same files, another package");
}

/// Both kinds of package name the modules of the kernel that snet needs.
#[test]
fn packages_of_openwrt_name_what_they_need() {
    let folder = folder("openwrt");
    let ipk = package("openwrt-ipk", "x86_64", &folder);
    let inner = |archive: &str, file: &str| {
        let command = format!("tar -xzOf '{}' ./{archive} | tar -xzO {file}", ipk.display());
        run("sh", &["-c", &command])
    };
    let control = inner("control.tar.gz", "./control");
    for line in ["Package: snet", "Architecture: all", "License: MIT"] {
        assert!(control.lines().any(|it| it == line), "{control}");
    }
    let depends = control.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap();
    let depends: Vec<&str> = depends.split(", ").collect();
    for module in ["kmod-nft-core", "kmod-nft-fib", "kmod-nft-nat", "kmod-nft-tproxy"] {
        assert!(depends.contains(&module), "{depends:?}");
    }
    assert!(depends.iter().all(|it| it.starts_with("kmod-")), "{depends:?}");
    assert_eq!(inner("control.tar.gz", "./conffiles"), "/etc/config/snet\n");
    assert_eq!(inner("data.tar.gz", "./lib/upgrade/keep.d/snet"), "/etc/snet/\n");

    let apk = package("openwrt-apk", "x86_64", &folder);
    let info = run("tar", &["-xzOf", apk.to_str().unwrap(), ".PKGINFO"]);
    let of_apk: Vec<&str> =
        info.lines().filter_map(|line| line.strip_prefix("depend = ")).collect();
    assert_eq!(of_apk, depends);
    assert!(info.contains("arch = noarch\n"), "{info}");
}

/// package-step, as the root's own, with everything that it asks played by a script that writes
/// down how it was called.
struct Machine {
    root: Folder,
    step: PathBuf,
}

impl Machine {
    fn new(name: &str) -> Self {
        let root = Folder::new(&format!("packages-step-{name}"));
        let at = |path: &str| root.path(path).display().to_string();
        for folder in ["etc", "run/systemd/system", "usr/share/snet", "usr/bin", "bin"] {
            fs::create_dir_all(root.path(folder)).unwrap();
        }
        fs::copy(
            Path::new(PROJECT).join("config.example.toml"),
            root.path("usr/share/snet/config.example.toml"),
        )
        .unwrap();
        let stand_in = format!(
            "#!/bin/sh\ncd {} || exit\necho \"${{0##*/}} $*\" >>asked\n\
             case $* in *is-active*) [ -e active ];; check*) [ ! -e wrong ];; esac\n",
            at("")
        );
        for program in ["usr/bin/snet", "bin/systemctl", "bin/deb-systemd-invoke"] {
            executable::write(&stand_in, &root.path(program));
        }
        let script =
            fs::read_to_string(Path::new(PROJECT).join("scripts/packages/step.sh")).unwrap();
        let script = script
            .replace("folder=/etc/snet", &format!("folder={}", at("etc/snet")))
            .replace("/usr/bin/snet", &at("usr/bin/snet"))
            .replace("$root/usr/share", &at("usr/share"))
            .replace("/run/systemd", &at("run/systemd"));
        let step = root.path("step");
        fs::write(&step, script).unwrap();
        Machine { root, step }
    }

    /// What was said, and what was asked meanwhile.
    fn act(&self, action: &str) -> (String, String) {
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("sh")
            .arg(&self.step)
            .arg(action)
            .env("PATH", format!("{}:{path}", self.root.path("bin").display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let asked = fs::read_to_string(self.root.path("asked")).unwrap_or_default();
        let _ = fs::remove_file(self.root.path("asked"));
        (text(&output), asked)
    }

    fn set(&self, name: &str) {
        fs::write(self.root.path(name), "").unwrap();
    }
}

#[test]
fn a_package_makes_the_configuration_once_and_starts_nothing() {
    let machine = Machine::new("made");
    let config = machine.root.path("etc/snet/config.toml");
    let (said, asked) = machine.act("installed");
    assert!(said.contains("systemctl enable --now snet"), "{said}");
    assert_eq!(asked, "snet --version\nsystemctl daemon-reload\n");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&config, "edited").unwrap();
    let (said, _) = machine.act("upgraded");
    assert_eq!(said, "");
    assert_eq!(fs::read_to_string(&config).unwrap(), "edited");
    let (_, asked) = machine.act("removing");
    assert!(asked.starts_with("deb-systemd-invoke stop snet.service\n"), "{asked}");
    assert!(asked.ends_with("snet cleanup\n"), "{asked}");
    assert!(config.exists());
}

#[test]
fn an_upgrade_never_ends_a_snet_that_could_not_start_again() {
    let machine = Machine::new("upgraded");
    machine.act("installed");
    let restart = "deb-systemd-invoke restart snet.service\n";
    let (_, asked) = machine.act("upgraded");
    assert!(!asked.contains("restart"), "nothing ran: {asked}");
    machine.set("active");
    let (_, asked) = machine.act("upgraded");
    assert!(asked.contains("snet check -c ") && asked.ends_with(restart), "{asked}");
    machine.set("wrong");
    let (said, asked) = machine.act("upgraded");
    assert!(!asked.contains("restart"), "{asked}");
    assert!(said.contains("is not right for this version; the old snet goes on"), "{said}");
}
