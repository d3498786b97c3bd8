#!/usr/bin/env python3
"""What the documents say is there: README.md and the README.md of each folder.

Their examples compile, against the public headers alone. Links, paths, headers, functions and
settings exist, every setting is explained, commands have the flags they are shown with, and codecs
and graphs their parameters. README.md is short and leads to all others. Before it reads them, the
test checks that each rule notices a breach.
"""
import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("include", "src", "algorithms", "transports", "topology", "gossip", "perf", "tests")
README_LINES_MAX = 200

# What examples that are no whole program take for granted.
CONTEXT = """
template <typename... Anything> void use(Anything&&...) {}
[[maybe_unused]] static void update_model() {}
"""
PARAMETERS = (
    "[[maybe_unused]] gossamer::Communicator& comm, [[maybe_unused]] float* x,"
    " [[maybe_unused]] const float* g, [[maybe_unused]] const float* out,"
    " [[maybe_unused]] float* in, [[maybe_unused]] uint64_t n, [[maybe_unused]] uint64_t steps,"
    " [[maybe_unused]] uint64_t epoch, [[maybe_unused]] bool first,"
    " [[maybe_unused]] bool training, [[maybe_unused]] const std::string& secret,"
    " [[maybe_unused]] gossamer::Status status, [[maybe_unused]] gossamer::Status done,"
    " [[maybe_unused]] float* bias_gradient, [[maybe_unused]] float* embed_gradient,"
    " [[maybe_unused]] gossamer::GradientHook::Options options")


def blocks(text, language):
    """(line of its first line, text) of every fenced block of this language."""
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S):
        yield text.count("\n", 0, match.start(1)) + 1, match.group(1)


def spans(text):
    """(line, text) of everything between single backticks, outside of blocks."""
    prose = re.sub(r"^```.*?^```$", lambda m: re.sub(r"[^\n]", " ", m.group()), text,
                   flags=re.M | re.S)
    for match in re.finditer(r"`([^`\n]+)`", prose):
        yield text.count("\n", 0, match.start()) + 1, match.group(1)


def anchors(text):
    """How GitHub calls the headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.*)$", text, re.M)}


def check_links(path, documents, exists):
    text = documents[path]
    for match in re.finditer(r"\]\(([^)\s]+)\)", text):
        line, target = text.count("\n", 0, match.start()) + 1, match.group(1)
        file, _, anchor = target.partition("#")
        to = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
        if not exists(to):
            yield line, f"links to {target}, which is not there"
        elif anchor and anchor not in anchors(documents.get(to, "")):
            yield line, f"links to {target}: no heading is called so"


def check_reached(documents):
    """Every document can be reached from README.md."""
    reached, found = set(), ["README.md"]
    while found:
        path = found.pop()
        reached.add(path)
        for target in re.findall(r"\]\(([^)#\s]+)", documents[path]):
            to = os.path.normpath(os.path.join(os.path.dirname(path), target))
            if to in documents and to not in reached:
                found.append(to)
    for path in documents:
        if path not in reached:
            yield path, 1, "README.md does not lead here"


def check_names(path, text, headers, exists):
    """Paths, headers, functions and enumerators that are named in the text."""
    here = os.path.dirname(path)
    for line, span in spans(text):
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]+", span) and not exists(span):
            yield line, f"names {span}, which is not there"
        if re.fullmatch(r"gossamer/\w+\.h", span) and not exists(f"include/{span}"):
            yield line, f"names header {span}, which is not there"
        if re.fullmatch(r"\w+\.(?:h|cc|c)", span) and not any(
                exists(os.path.join(folder, span)) for folder in
                (here, "include/gossamer", "include/nccl", "algorithms", "tests/examples")):
            yield line, f"names file {span}, which is not there"
        call = re.fullmatch(r"(?:\w+::)*(\w+)\(.*\)", span) or re.fullmatch(r"(k[A-Z]\w+)", span)
        if call and call.group(1) != "find_package":
            name = re.sub("^nccl", "", call.group(1))  # nccl.h declares them without it
            if not re.search(rf"\b(?:nccl)?{name}\b", headers):
                yield line, f"names {span}, which no public header has"


def check_settings(documents, environment, headers):
    """Every setting that the library reads is explained in a table, and no other one is named."""
    settings = set(re.findall(r'EnvVariable\{\s*"(GOSSAMER_\w+)"', environment))
    every = "\n".join(documents.values())
    for name in sorted(settings):
        if not re.search(rf"^\|[^|]*`{name}`", every, re.M):
            yield "README.md", 1, f"neither it nor another document explains {name}"
    for path, text in documents.items():
        for match in re.finditer(r"\bGOSSAMER_\w*[A-Z0-9]\b", text):
            if match.group() not in settings and not re.search(rf"\b{match.group()}\b", headers):
                line = text.count("\n", 0, match.start()) + 1
                yield path, line, f"names {match.group()}, which nothing reads"


def compile_all(documents, compiler, c_compiler):
    """Examples that are whole programs by themselves, all others of C++ in one file."""
    includes, bodies = ["#include <chrono>\n#include <cstdint>\n#include <string>\n"
                        "#include <gossamer/communicator.h>\n#include <gossamer/gradient_hook.h>\n"
                        "#include <gossamer/feedback.h>\n"], [CONTEXT]
    for path, text in documents.items():
        for line, block in blocks(text, "c"):
            yield from compile_one(c_compiler, ["-std=c99", "-pedantic-errors"], ".c",
                                   f'#line {line} "{path}"\n{block}')
        for line, block in blocks(text, "cpp"):
            if "int main(" in block:
                yield from compile_one(compiler, ["-std=c++20"], ".cc",
                                       f'#line {line} "{path}"\n{block}')
                continue
            includes += re.findall(r"^#include .*\n", block, re.M)
            body = re.sub(r"^#include .*$", "", block, flags=re.M)
            bodies.append(f"static void example_{len(bodies)}({PARAMETERS}) {{ {{\n"
                          f'#line {line} "{path}"\n{body}}} }}\n')
    bodies += [f"[[maybe_unused]] static const auto run_{i} = example_{i};\n"
               for i in range(1, len(bodies))]
    yield from compile_one(compiler, ["-std=c++20"], ".cc", "".join(includes + bodies))


def compile_one(compiler, flags, suffix, text):
    with tempfile.NamedTemporaryFile("w", suffix=suffix) as unit:
        unit.write(text)
        unit.flush()
        done = subprocess.run([compiler, *flags, "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                               "-Wno-unused-but-set-variable", "-Wno-unused-but-set-parameter",
                               "-Wno-unused-variable", f"-I{ROOT}/include", unit.name],
                              capture_output=True, text=True)
    for at, number, what in re.findall(r"^([^\s:]+):(\d+):\d+: (?:fatal )?error: (.*)$",
                                       done.stderr, re.M):
        yield at, int(number), what
    if done.returncode != 0 and "error: " not in done.stderr:
        yield unit.name, 1, done.stderr


def commands(text):
    """(line, words) of every call of `gossamer` or ./dev."""
    lines = [(begin + i, line) for begin, block in blocks(text, "sh")
             for i, line in enumerate(block.split("\n"))] + list(spans(text))
    for number, line in lines:
        words = shlex.split(line, comments=True)
        for at, word in enumerate(words):
            if word in ("gossamer", "./dev") and (at == 0 or "=" in words[at - 1]
                                                  or words[0] == "mpirun"):
                yield number, words[at:]
                break


def check_commands(text, help_of):
    for line, words in commands(text):
        name = next((word for word in words[1:] if not word.startswith("-")), "")
        if not name or name.isupper():  # `gossamer --version`, `gossamer COMMAND --help`
            continue
        known = help_of(words[0], name)
        if known is None:
            yield line, f"{words[0]} has no command {name}"
            continue
        for word in words[1:]:
            if word.startswith("-") and not re.search(rf"(?<![\w-]){word}(?![\w-])", known):
                yield line, f"{words[0]} {name} has no flag {word}"


def helper(command):
    """What the commands say of themselves; None where there is no such command."""
    seen = {}

    def ask(program, name):
        if (program, name) not in seen:
            if program == "./dev":
                text = subprocess.run([f"{ROOT}/dev", "help"], capture_output=True,
                                      text=True).stdout
                with open(f"{ROOT}/perf/peers/compare.py", encoding="utf-8") as file:
                    more = file.read()
                found = name == "help" or re.search(rf"^  {name}\b", text, re.M)
                seen[program, name] = text + more if found else None
            else:
                done = subprocess.run([command, name, "--help"], capture_output=True, text=True)
                found = f"Usage: gossamer {name} " in done.stdout
                seen[program, name] = done.stdout if found else None
        return seen[program, name]
    return ask


def check_parameters(text, accepts):
    """Codecs and graphs in examples are there, with the parameters that they are shown with."""
    for language in ("cpp", "c"):
        for begin, block in blocks(text, language):
            for match in re.finditer(r'(\.codec = |make_codec\(|make_graph\()"([\w:=.,]+)"', block):
                what = "graph" if match.group(1) == "make_graph(" else "codec"
                if not accepts(what, match.group(2)):
                    yield (begin + block.count("\n", 0, match.start()),
                           f"there is no {what} '{match.group(2)}'")


def self_test():
    """Each rule must notice a breach of it."""
    nothing, everything = (lambda path: False), (lambda path: True)
    breaches = [
        check_links("README.md", {"README.md": "[a](b.md)"}, nothing),
        check_links("README.md", {"README.md": "[a](#b)\n# A b\n"}, everything),
        check_reached({"README.md": "", "src/README.md": ""}),
        check_names("README.md", "`src/a.cc`", "", nothing),
        check_names("README.md", "`gossamer/a.h`", "", nothing),
        check_names("README.md", "`a.h`", "", nothing),
        check_names("README.md", "`a::b()`", "bb()", everything),
        check_names("README.md", "`kSmall`", "", everything),
        check_settings({"README.md": "`GOSSAMER_X`"}, 'EnvVariable{"GOSSAMER_X", "", ""}', ""),
        check_settings({"README.md": "GOSSAMER_Y=1"}, "", ""),
        check_commands("```sh\nA=1 gossamer perf --no\n```\n", lambda *a: "--nothing"),
        check_commands("`./dev nothing`", lambda *a: None),
        check_parameters('```cpp\nmake_codec("int9")\n```\n', lambda *a: False),
    ]
    for index, breach in enumerate(breaches):
        assert list(breach), f"breach {index} went unnoticed"
    assert anchors("## Jobs that members join, and leave\n") == {"jobs-that-members-join-and-leave"}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default="c++")
    parser.add_argument("--c-compiler", default="cc")
    parser.add_argument("--command", help="the gossamer command; without it, flags, codecs and "
                        "graphs are not looked at")
    arguments = parser.parse_args()
    self_test()
    documents, headers = {"README.md": read("README.md")}, ""
    for folder in FOLDERS:
        for base, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                path = os.path.relpath(os.path.join(base, name), ROOT)
                if name.endswith(".md"):
                    documents[path] = read(path)
                elif folder == "include":
                    headers += read(path)

    def exists(path):
        return os.path.exists(os.path.join(ROOT, path))

    def accepts(what, text):
        flags = ["graph", text] if what == "graph" else ["compress-lab", "--count", "1024",
                                                         "--codec", text]
        return subprocess.run([arguments.command, *flags], capture_output=True).returncode == 0

    findings = list(compile_all(documents, arguments.compiler, arguments.c_compiler))
    for path, text in documents.items():
        found = list(check_links(path, documents, exists))
        found += check_names(path, text, headers, exists)
        if arguments.command:
            found += check_commands(text, helper(arguments.command))
            found += check_parameters(text, accepts)
        findings += [(path, line, what) for line, what in found]
    findings += check_reached(documents)
    findings += check_settings(documents, read("src/env.cc"), headers)
    lines = documents["README.md"].count("\n")
    if lines > README_LINES_MAX:
        findings.append(("README.md", lines, f"{lines} lines, {README_LINES_MAX} is the limit: "
                         "move what is long into a folder's README.md"))
    for path, number, what in findings:
        print(f"{path}:{number}: {what}")
    print(f"{len(documents)} documents, {len(findings)} findings")
    return 1 if findings else 0


sys.exit(main())
