#!/usr/bin/env python3
"""What is built where the headers of rdma-core and UCX are missing needs none of them.

Configures the project as if neither were there, and follows what its sources include.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OPTIONAL = {"IBVERBS_INCLUDE_DIR": "infiniband/", "UCX_INCLUDE_DIR": "ucp/"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)


def sources(cmake, generator, folder):
    flags = [f"-D{variable}=" for variable in OPTIONAL]
    done = subprocess.run(
        [cmake, "-S", ROOT, "-B", folder, "-G", generator, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
         "-DGOSSAMER_TESTS=ON", "-DGOSSAMER_PERF=ON", *flags],
        capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"cmake fails without {', '.join(OPTIONAL)}:\n{done.stdout}{done.stderr}")
    with open(f"{folder}/compile_commands.json", encoding="utf-8") as file:
        return sorted({os.path.relpath(entry["file"], ROOT) for entry in json.load(file)})


def included(path, read):
    """(is a header of ours, name) of what a file includes, but for what it asks for first."""
    text = read(path)
    for quote, name in INCLUDE.findall(text):
        if f"__has_include(<{name}>)" not in text:
            yield quote == '"', name


def way_to_optional(source, read):
    """From a source to an optional header: the files on the way. None: it needs none."""
    seen = {source}
    ways = [[source]]
    while ways:
        way = ways.pop()
        for ours, name in included(way[-1], read):
            if not ours and name.startswith(tuple(OPTIONAL.values())):
                return way + [name]
            for path in (name, f"include/{name}", f"{os.path.dirname(way[-1])}/{name}"):
                if read(path) is not None and path not in seen:
                    seen.add(path)
                    ways.append(way + [path])
                    break
    return None


def read_file(path):
    try:
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def check_rule():
    files = {"a.cc": '#include "b.h"\n', "b.h": "#include <infiniband/verbs.h>\n",
             "c.cc": "#if __has_include(<ucp/api/ucp.h>)\n#include <ucp/api/ucp.h>\n#endif\n"}
    if way_to_optional("a.cc", files.get) != ["a.cc", "b.h", "infiniband/verbs.h"]:
        sys.exit("a header that is included by a header is not noticed")
    if way_to_optional("c.cc", files.get) is not None:
        sys.exit("a header that is asked for first is taken for needed")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--cmake", default="cmake")
    p.add_argument("--generator", default="Ninja")
    a = p.parse_args()
    check_rule()
    with tempfile.TemporaryDirectory() as folder:
        found = sources(a.cmake, a.generator, folder)
    if "transports/verbs/absent/verbs.cc" not in found:
        sys.exit("verbs is built all the same: its headers were found elsewhere")
    ways = [way for way in (way_to_optional(path, read_file) for path in found) if way]
    for way in ways:
        print(f"{way[0]}: is built without {way[-1]} and needs it, by {' -> '.join(way[1:])}")
    print(f"{len(found)} sources, {len(ways)} findings")
    return 1 if ways else 0


if __name__ == "__main__":
    sys.exit(main())
