"""Writes a package of apk-tools, in the format that its versions 2 (Alpine) and 3 (OpenWrt too) read.

    apk.py ROOT INFO PACKAGE [SCRIPT...]

ROOT has the files, INFO the lines of .PKGINFO that depend on nothing here; a script is named as what it is for
(post-install, ...). The format is apk-package(5), v2: one tar archive in two streams of gzip, control and data;
only the second has an end. The package is not signed. SOURCE_DATE_EPOCH is its date.
"""

import gzip
import hashlib
import io
import os
import pathlib
import sys
import tarfile

DATE = int(os.environ["SOURCE_DATE_EPOCH"])
BLOCK = 512


def entry(name, mode, size=0):
    """A member that belongs to root."""
    member = tarfile.TarInfo(name)
    member.mode, member.size, member.mtime = mode, size, DATE
    member.uname = member.gname = "root"
    return member


def compressed(content):
    return gzip.compress(content, 9, mtime=0)


def data(root):
    """The files, each with the hash by which apk knows whether somebody has changed it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            mode = path.stat().st_mode & 0o7777
            if path.is_dir():
                member = entry(name, mode)
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
                continue
            content = path.read_bytes()
            member = entry(name, mode, len(content))
            member.pax_headers = {"APK-TOOLS.checksum.SHA1": hashlib.sha1(content).hexdigest()}
            archive.addfile(member, io.BytesIO(content))
    return compressed(buffer.getvalue())


def control(info, scripts):
    """Without the end of an archive: the files follow."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        members = [(".PKGINFO", 0o644, info.encode())]
        members += [("." + script.name, 0o755, script.read_bytes()) for script in sorted(scripts)]
        for name, mode, content in members:
            archive.addfile(entry(name, mode, len(content)), io.BytesIO(content))
        length = buffer.tell()
    assert length % BLOCK == 0
    return compressed(buffer.getvalue()[:length])


def main():
    root, info, package = map(pathlib.Path, sys.argv[1:4])
    scripts = [pathlib.Path(script) for script in sys.argv[4:]]
    files = data(root)
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    lines = info.read_text()
    lines += f"builddate = {DATE}\nsize = {size}\ndatahash = {hashlib.sha256(files).hexdigest()}\n"
    package.write_bytes(control(lines, scripts) + files)


main()
