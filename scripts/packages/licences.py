"""Prints the licences of all crates that are in an executable of snet, each text once.

    licences.py TARGET

TARGET is a target of Rust. The texts are those that the crates bring; one that brings none is named with its
authors under the text of its licence, and where that is not to be had this fails.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys

# As files of licences are called, and what is code all the same.
NAME = re.compile(r"(?i)^(un)?(licen[cs]e|copying|copyright|notice)")
CODE = {".c", ".h", ".py", ".rs", ".sh"}
RULE = "=" * 80
HEAD = """snet is under the MIT licence (the file LICENSE). These are the licences of what else is in its executable.

Rust's standard library: MIT or Apache-2.0, copyright the Rust Project contributors. A static executable also has musl,
a C library: MIT, copyright 2005-2020 Rich Felker and others. Both texts are among those below.
"""


def metadata(target):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def parts(known):
    """The packages that snet is linked with; not what builds or tests it."""
    packages = {package["id"]: package for package in known["packages"]}
    nodes = {node["id"]: node for node in known["resolve"]["nodes"]}
    first = next(id for id, package in packages.items() if package["name"] == "snet")
    found, waiting = set(), [first]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                if dependency["pkg"] not in found:
                    found.add(dependency["pkg"])
                    waiting.append(dependency["pkg"])
    others = (packages[id] for id in found if packages[id]["source"])
    return sorted(others, key=lambda it: (it["name"], it["version"]))


def texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and NAME.match(path.name)]
    files = [path for path in files if path.suffix not in CODE]
    if package["license_file"]:
        files.append(folder / package["license_file"])
    return [path.read_text(errors="replace").strip() for path in files]


def title(package):
    return f"{package['name']} {package['version']} ({package['license'] or package['license_file']})"


def main():
    packages = parts(metadata(sys.argv[1]))
    assert len(packages) > 100, f"only {len(packages)} crates were found"
    # By what it says, however its lines are broken.
    users, wording = collections.defaultdict(list), {}
    bare = []
    for package in packages:
        found = texts(package)
        for text in found:
            key = " ".join(text.split())
            wording.setdefault(key, text)
            if title(package) not in users[key]:
                users[key].append(title(package))
        if not found:
            bare.append(package)
    generic = {
        "MIT": next(key for key in users if "Permission is hereby granted, free of charge" in key),
        "Apache-2.0": next(key for key in users if "Apache License Version 2.0, January 2004" in key),
    }
    for package in bare:
        expression = package["license"] or ""
        licence = next((it for it in generic if it in re.split(r"[ /()]+", expression)), None)
        if licence is None:
            sys.exit(f"{title(package)} has no text of its licence")
        authors = ", ".join(package["authors"]) or "its authors"
        users[generic[licence]].append(f"{title(package)}, which has no text of its own; copyright {authors}")
    print(HEAD)
    for package in packages:
        print(title(package))
    for key, crates in users.items():
        print(f"\n{RULE}\nOf {', '.join(crates)}:\n\n{wording[key]}")


main()
