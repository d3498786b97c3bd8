#!/usr/bin/env python3
"""The rules of this tree that a compiler does not check.

Lines, files and functions keep their limits; who may include whom; every plug-in is in its list;
headers open with a sentence and compile alone; algorithms name their source; nothing points at one
particular machine. Before it looks at the tree it checks that each rule notices a breach.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("include", "src", "algorithms", "transports", "topology", "gossip", "perf", "tests")
LINE_MAX, FILE_MAX, FUNCTION_MAX = 100, 500, 70

# Who may know whom. First match decides; a file that matches nothing here may include anything
# but what only() reserves. Patterns are of paths from the root, includes as written.
TOOLS = r"src/(check|log|enum_number|env|fd|futex_lock|process|system_text)\.h"
KERNELS = r"src/(reduce\w*|narrow|reduce_lanes-inl)\.h"
MAY_INCLUDE = [
    (r"algorithms/", rf"gossamer/(schedule|types|mixing)\.h|algorithms/|{TOOLS}"),
    (r"transports/", rf"gossamer/(transport|schedule|status|types|memory|export)\.h|transports/"
                     rf"|src/(auth|memory_watch|net|registration_cache|window|wire)\.h"
                     rf"|{KERNELS}|{TOOLS}"),
    (r"src/(reduce|narrow|stream_copy)", rf"gossamer/types\.h|{KERNELS}|{TOOLS}"),
    (r"src/(engine|program)", rf"gossamer/(schedule|transport|status|types|codec|code_sums)\.h"
                              rf"|src/(engine|program|point_to_point|window|fingerprint)\.h"
                              rf"|src/(coding|packing|reduce_double)\.h"
                              rf"|src/(patience|plan|price)\.h"
                              rf"|src/call_buffers\.h|{KERNELS}|{TOOLS}"),
    # of a codec: how long its codes are, and what it costs
    (r"src/(verify|price|call_buffers)", rf"gossamer/(schedule|types|status|mixing)\.h"
                            rf"|gossamer/(codec|code_sums)\.h"
                            rf"|src/(verify\w*|price\w*|plan|edges|intervals|packing)\.h"
                                         rf"|src/call_buffers\.h|{TOOLS}"),
    (r"topology/", rf"gossamer/(types|status)\.h|topology/|src/price\.h|{TOOLS}"),
    (r"gossip/membership/", rf"gossamer/|gossip/membership/"
                            rf"|src/(auth|exchange|net|unique_id|watch|wire)\.h"
                            rf"|{TOOLS}"),
    (r"gossip/job/", rf"gossamer/|gossip/|src/(auth|net|unique_id|wire)\.h|{TOOLS}"),
    (r"gossip/", rf"gossamer/|gossip/|src/(graph_names|parameters|reduce)\.h|{TOOLS}"),
    (r"src/nccl/", rf"gossamer/|nccl/|src/nccl/|src/reduce\.h|{TOOLS}"),
    (r"include/nccl/", r"nccl\.h"),
    (r"include/", r"gossamer/"),
    (r"tests/examples/nccl/", r"example\.h"),
]
# An include that only the named files may have.
ONLY = [
    (r"gossamer/gossamer(_\w+)?\.h", r"src/c_\w+\.(cc|h)|include/gossamer/gossamer_\w+\.h|tests/"),
    (r"(src/)?nccl/", r"src/nccl/|tests/|perf/micro/"),
    (r"perf/", r"perf/|tests/"),
    (r"tests/", r"tests/"),
    (r"transports/(shm|tcp|ucx|verbs)/", r"transports/|tests/"),
]
WORDS = re.compile("|".join((r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bX" + r"XX\b",
                             "[Nn]ot " + "implemented", "[Uu]n" + "implemented",
                             r"\b[Ff]or " + "now\\b", "[Pp]lace" + "holder")))
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w")
ALGORITHM_BLOCK = ("Source", "Steps", "Bytes", "Scratch", "Needs", "Bits")


def blank(text):
    """The same text with comments and literals replaced by spaces; lines stay where they are."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
                       r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.S)
    return token.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def functions(text):
    """(first line, last line) of every function body with its signature."""
    code = re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", lambda m: re.sub(r"[^\n]", " ", m.group()),
                  blank(text), flags=re.M)
    found, stack, since = [], [], 0
    for at, char in enumerate(code):
        if char == "{":
            head = code[since:at]
            body = re.search(r"\)\s*(?:const|noexcept|override|final|mutable|&|\s|->[^{;=]+"
                             r"|:[^:;].*)*$", head, re.S)
            control = re.match(r"\s*(?:\}?\s*else\b|if\b|for\b|while\b|switch\b|do\b|catch\b|try\b"
                               r"|namespace\b|enum\b|struct\b|class\b|union\b|return\b)", head)
            inside = any(kind == "function" for kind, _ in stack)
            is_function = body and not control and not inside and "=" not in head.split("(")[0]
            begin = code.count("\n", 0, since + len(head) - len(head.lstrip())) + 1
            stack.append(("function" if is_function else "block", begin))
            since = at + 1
        elif char == "}":
            if stack:
                kind, begin = stack.pop()
                if kind == "function":
                    found.append((begin, code.count("\n", 0, at) + 1))
            since = at + 1
        elif char == ";":
            since = at + 1
    return found


def check_text(path, text):
    """Rules that hold for every text file."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX and not path.endswith((".md", ".json")):
            yield number, f"{len(line)} columns, {LINE_MAX} is the limit"
        if WORDS.search(line):
            yield number, f"marks unfinished work: {WORDS.search(line).group()}"
        if MACHINE_PATH.search(line):
            yield number, f"a path of one machine: {MACHINE_PATH.search(line).group()}"
        if line.rstrip() != line and not path.endswith(".md"):
            yield number, "white space at the end"


def check_code(path, text):
    """Rules for C++ files."""
    lines = text.count("\n")
    if lines > FILE_MAX:
        yield FILE_MAX, f"{lines} lines, {FILE_MAX} is the limit"
    for begin, end in functions(text):
        if end - begin + 1 > FUNCTION_MAX:
            yield begin, f"a function of {end - begin + 1} lines, {FUNCTION_MAX} is the limit"
    if path.endswith(".h") and not path.endswith("-inl.h"):
        if not text.startswith(("//", "/*")):
            yield 1, "a header opens with what it is, as a comment"
        guard = r"^#pragma once$|^#ifndef (?:GOSSAMER_\w*|NCCL_)H_?\b.*\n#define"
        if not re.search(guard, text, re.M):
            yield 1, "neither #pragma once nor, for C, an include guard"
    for number, line in enumerate(text.split("\n"), 1):
        include = re.match(r'\s*#include "([^"]+)"', line)
        if include:
            yield from ((number, what) for what in check_include(path, include.group(1)))


def check_include(path, include):
    for part, allowed in MAY_INCLUDE:
        if re.match(part, path):
            if not re.match(allowed, include):
                yield f"{path.split('/')[0]} may not know {include} (rule for {part})"
            break
    for what, who in ONLY:
        if re.match(what, include) and not re.match(who, path):
            yield f"only {who} may know {include}"


def check_lists(files):
    """Every plug-in file is in its list, and every algorithm says where it comes from."""
    def entries(path, macro):
        text = files.get(path, "")
        start = text.find(f"#define {macro}(ENTRY)")
        line = re.sub(r"\\\n", " ", text[start:]).split("\n")[0]
        return set(re.findall(r"ENTRY\((\w+)\)", line.replace(f"{macro}(ENTRY)", "")))
    algorithms = entries("algorithms/list.h", "GOSSAMER_ALGORITHMS")
    transports = entries("transports/list.h", "GOSSAMER_TRANSPORTS")
    seen = set()
    for path, text in files.items():
        where = re.fullmatch(r"algorithms/(\w+)\.cc", path)
        if where:
            seen.add(where.group(1))
            if where.group(1) not in algorithms:
                yield path, 1, "not in algorithms/list.h"
            head = text[:text.find("#include")]
            for word in ALGORITHM_BLOCK:
                if not re.search(rf"^//\s+{word}\b", head, re.M):
                    yield path, 1, f"the opening comment lacks '{word}'"
        defined = re.findall(r"^const TransportFactory (\w+)_transport\b", text, re.M)
        for name in defined if path.startswith("transports/") else ():
            if name not in transports:
                yield path, 1, f"transport {name} is not in transports/list.h"
    for name in algorithms - seen:
        yield "algorithms/list.h", 1, f"there is no algorithms/{name}.cc"


def check_headers(compiler, headers):
    """Each header compiles alone."""
    def compile_one(path):
        with tempfile.NamedTemporaryFile("w", suffix=".cc") as unit:
            unit.write(f'#include "{path}"\n')
            unit.flush()
            done = subprocess.run(
                [compiler, "-std=c++20", "-fsyntax-only", "-DGOSSAMER_VERSION=\"0\"",
                 f"-I{ROOT}", f"-I{ROOT}/include", f"-I{ROOT}/include/nccl", unit.name],
                capture_output=True, text=True)
        errors = [line for line in done.stderr.split("\n") if "error" in line]
        return path, done.returncode, errors[:1]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, code, errors in pool.map(compile_one, headers):
            if code != 0:
                yield path, 1, f"does not compile alone: {' '.join(errors)}"


def self_test():
    """Each rule must notice a breach of it."""
    long_function = "int f(int a) {\n" + "  ++a;\n" * 80 + "  return a;\n}\n"
    breaches = [
        check_text("src/a.cc", "x" * 101), check_text("src/a.cc", "// TO" + "DO: later"),
        check_text("src/a.cc", 'open("/home/' + 'me/x")'), check_text("src/a.cc", "int a; "),
        check_code("src/a.cc", "\n" * 501), check_code("src/a.cc", long_function),
        check_code("src/a.cc", "struct S {\n  void g() const {\n" + ";\n" * 80 + "}\n};\n"),
        check_code("src/a.h", "#pragma once\n"), check_code("src/a.h", "// A.\n"),
        check_code("algorithms/a.cc", '#include "src/engine.h"\n'),
        check_code("transports/shm/a.cc", '#include "src/communicator_impl.h"\n'),
        check_code("src/engine.cc", '#include "gossamer/communicator.h"\n'),
        check_code("src/plan.cc", '#include "perf/table.h"\n'),
        check_lists({"algorithms/a.cc": "// A.\n#include\n", "algorithms/list.h": ""}),
        check_lists({"transports/a.cc": "const TransportFactory a_transport{};\n"}),
    ]
    for index, breach in enumerate(breaches):
        assert list(breach), f"breach {index} went unnoticed"
    clean = "// A.\n#pragma once\n\ninline int f() {\n  return 1;\n}\n"
    assert not list(check_text("src/a.h", clean)) + list(check_code("src/a.h", clean))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default="c++")
    parser.add_argument("--no-compile", action="store_true", help="leave out compiling headers")
    arguments = parser.parse_args()
    self_test()
    files = {}
    for folder in FOLDERS:
        for base, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                path = os.path.relpath(os.path.join(base, name), ROOT)
                if re.search(r"\.(cc|h|c|py|sh|txt|in|md)$", name) and "/corpus/" not in path:
                    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                        files[path] = file.read()
    for name in ("dev", ".ci/run", "CMakeLists.txt", "CMakePresets.json", "README.md"):
        if os.path.exists(os.path.join(ROOT, name)):
            with open(os.path.join(ROOT, name), encoding="utf-8") as file:
                files[name] = file.read()
    findings = []
    for path, text in sorted(files.items()):
        findings += [(path, number, what) for number, what in check_text(path, text)]
        if path.endswith((".cc", ".h", ".c")):
            findings += [(path, number, what) for number, what in check_code(path, text)]
    findings += check_lists(files)
    if files["CMakeLists.txt"].count("\n") > 120:
        findings.append(("CMakeLists.txt", 120, "more than 120 lines"))
    headers = [p for p in sorted(files) if p.endswith(".h") and not p.endswith("-inl.h")
               and not p.startswith(("include/gossamer/mpi", "perf/peers/"))]
    if not arguments.no_compile:
        findings += check_headers(arguments.compiler, headers)
    for path, number, what in findings:
        print(f"{path}:{number}: {what}")
    print(f"{len(files)} files, {len(headers)} headers, {len(findings)} findings")
    return 1 if findings else 0


sys.exit(main())
