#!/usr/bin/env python3
"""Acceptance checks of libnccl.so.2 that need a compiler, a loader or an interpreter.

One function per check, named by its id; ctest calls them one by one. A check that compares with the
CUDA toolkit's own header or library says so and ends with 77 where it is not installed.
"""
import argparse
import ctypes
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEADERS = os.path.join(ROOT, "include", "nccl")
SKIPPED = 77

PLAIN = """AllGather AllReduce AlltoAll Bcast Broadcast CommAbort CommCount CommCuDevice
CommDeregister CommDestroy CommFinalize CommGetAsyncError CommInitAll CommInitRank
CommInitRankConfig CommInitRankScalable CommRegister CommRevoke CommShrink CommSplit
CommUserRank CommWindowDeregister CommWindowRegister DevCommCreate DevCommDestroy Gather
GetErrorString GetLastError GetUniqueId GetVersion GinBarrierCreateRequirement GroupEnd
GroupSimulateEnd GroupStart LLA2ACalcSlots LLA2ACreateRequirement
LsaBarrierCreateRequirement MemAlloc MemFree Recv RedOpCreatePreMulSum RedOpDestroy Reduce
ReduceScatter ResetDebugInit Scatter Send TeamLsa TeamRail TeamRankToLsa TeamRankToWorld
TeamWorld""".split()

# What clients ask for, by name and nothing else.
VLLM = """GetErrorString GetVersion GetUniqueId CommInitRank AllReduce Reduce AllGather
ReduceScatter Send Recv Broadcast CommDestroy GroupStart GroupEnd CommWindowRegister
CommWindowDeregister""".split()
CUPY = """GetErrorString GetVersion GetUniqueId CommInitRank CommInitRankConfig CommInitAll
CommSplit CommDestroy CommAbort CommGetAsyncError CommCuDevice CommUserRank CommCount
GroupStart GroupEnd AllReduce Reduce Broadcast Bcast ReduceScatter AllGather Send Recv""".split()
XLA = """GetUniqueId GetVersion CommInitRankConfig CommInitRankScalable CommSplit CommAbort
CommDestroy CommCount CommGetAsyncError GetLastError GetErrorString CommRegister
CommDeregister CommWindowRegister CommWindowDeregister DevCommCreate DevCommDestroy
AllReduce Broadcast ReduceScatter AllGather AlltoAll Send Recv GroupStart GroupEnd
MemAlloc MemFree""".split()
PYTORCH = """AllGather AllReduce AlltoAll Bcast Broadcast Reduce ReduceScatter Send Recv GroupStart
GroupEnd GroupSimulateEnd GetVersion GetUniqueId GetErrorString GetLastError CommInitRank
CommInitRankConfig CommInitRankScalable CommInitAll CommSplit CommShrink CommFinalize
CommDestroy CommAbort CommGetAsyncError CommCount CommUserRank CommRegister CommDeregister
CommWindowRegister CommWindowDeregister MemAlloc MemFree RedOpCreatePreMulSum RedOpDestroy
DevCommCreate DevCommDestroy""".split()

options = argparse.Namespace()


class Skip(Exception):
    """Why a check cannot be made here."""


def run(*command, env=None, ok=True):
    done = subprocess.run(command, capture_output=True, text=True, timeout=240,
                          env={**os.environ, **(env or {})})
    if ok and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout if ok else done


def cuda():
    """The toolkit's folder of headers, and its library, if they are there."""
    for home in (os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"):
        header = os.path.join(home, "include", "nccl.h")
        for folder in ("lib64", "lib"):
            library = os.path.join(home, folder, "libnccl.so.2")
            if home and os.path.exists(header) and os.path.exists(library):
                return os.path.dirname(header), os.path.realpath(library)
    raise Skip("the CUDA toolkit with nccl.h and libnccl.so.2 is not installed; set CUDA_HOME")


def symbols(library):
    """name -> binding, of what it defines for others."""
    lines = run("nm", "-D", "--defined-only", library).splitlines()
    return {line.split()[2]: line.split()[1] for line in lines}


def compile_to(folder, source, name, *flags, compiler=None):
    target = os.path.join(folder, name)
    compiler = compiler or (options.cc if source.endswith(".c") else options.cxx)
    run(compiler, source, "-o", target, *flags)
    return target


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def link_flags(rpath=True):
    folder = os.path.dirname(options.library)
    flags = [f"-L{folder}", "-l:libnccl.so.2"]
    return flags + ([f"-Wl,-rpath,{folder}"] if rpath else [])


def NcclC01Symbols(_):
    expected = {f"nccl{name}": "W" for name in PLAIN}
    expected.update({f"pnccl{name}": "T" for name in PLAIN})
    expected["ncclResetDebugInitInternal"] = "T"
    assert len(expected) == 105, len(expected)
    ours = symbols(options.library)
    assert ours == expected, set(ours.items()) ^ set(expected.items())


def NcclC01SymbolsOfTheToolkit(_):
    theirs = symbols(cuda()[1])
    ours = symbols(options.library)
    assert ours == theirs, set(ours.items()) ^ set(theirs.items())


def NcclC02DynamicSection(_):
    section = run("readelf", "-dW", options.library)
    assert "soname: [libnccl.so.2]" in section, section
    assert "RPATH" not in section and "RUNPATH" not in section, section
    needed = re.findall(r"NEEDED\).*\[(.*?)\]", section)
    known = r"(libc|libm|libcrypto|libhwloc|libhwy|ld-linux-x86-64|libdl|libpthread|librt)\.so"
    foreign = [name for name in needed if not re.match(known, name)]
    assert not foreign, f"needs {foreign}"
    versions = run("readelf", "-VW", options.library)
    assert "Version definition section" not in versions, versions
    need = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([\d.]+)", versions)}
    assert max(need) <= (2, 36), f"needs GLIBC {max(need)}"
    assert "GLIBCXX" not in versions, "the C++ runtime should be inside"


def NcclC04Layout(folder):
    toolkit, _ = cuda()
    source = os.path.join(ROOT, "tests", "nccl_layout.c")
    ours = compile_to(folder, source, "ours", f"-I{HEADERS}", "-DGOSSAMER_NCCL_2_28",
                      "-DGOSSAMER_NCCL_WITHOUT_CUDA")
    theirs = compile_to(folder, source, "theirs", f"-I{toolkit}")
    assert run(ours) == run(theirs), f"{run(ours)}\n---\n{run(theirs)}"
    older = compile_to(folder, source, "older", f"-I{HEADERS}", "-DGOSSAMER_NCCL_WITHOUT_CUDA")
    changed = [line for line, other in zip(run(older).splitlines(), run(theirs).splitlines())
               if line != other]
    allowed = r"NCCL_(MINOR|PATCH|VERSION_CODE) |config initialiser|sim info"
    assert all(re.match(allowed, line) for line in changed), changed


def header_matrix(folder, cuda_flags, before, after):
    """Compiles the header in every dialect, next to what may come before and after it."""
    warnings = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    text = ('%s#include <nccl.h>\n%s#include <nccl_device.h>\n'
            'int main(void) { ncclConfig_t c = NCCL_CONFIG_INITIALIZER; cudaStream_t s = NULL;\n'
            'ncclSimInfo_t i = NCCL_SIM_INFO_INITIALIZER; ncclResult_t r = ncclSuccess;\n'
            'return (int)c.size + (int)i.size + (int)r + (s != NULL); }\n' % (before, after))
    jobs = []
    for language, dialects in (("c", "c99 gnu99 c11 c17"), ("cc", "c++11 c++14 c++17 c++20")):
        source = write(folder, f"matrix.{language}", text)
        for dialect in dialects.split():
            compiler = options.cc if language == "c" else options.cxx
            jobs.append(subprocess.Popen(
                [compiler, f"-std={dialect}", *warnings, f"-I{HEADERS}", *cuda_flags, source],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            output = jobs[-1].communicate()[0]
            assert jobs[-1].returncode == 0, f"{dialect} {cuda_flags} {before}{after}: {output}"


def NcclC05HeaderMatrix(folder):
    header_matrix(folder, ["-DGOSSAMER_NCCL_WITHOUT_CUDA"], "", "")
    header_matrix(folder, ["-DGOSSAMER_NCCL_WITHOUT_CUDA", "-DGOSSAMER_NCCL_2_28"], "", "")


def NcclC05HeaderMatrixWithCuda(folder):
    flags = ["-isystem", cuda()[0]]
    first = "#include <cuda_runtime.h>\n"
    header_matrix(folder, flags, "", "")
    header_matrix(folder, flags, first, "")
    header_matrix(folder, flags, "", first)
    # a second nccl.h is skipped, whichever it is
    source = write(folder, "twice.cc", f'#include <nccl.h>\n#include "{cuda()[0]}/nccl.h"\n')
    run(options.cxx, "-std=c++17", "-fsyntax-only", f"-I{HEADERS}", *flags, source)


APPLICATION = r"""
#include <nccl.h>
#include <stdio.h>
#include <string.h>
int main(void) {
  ncclUniqueId id;
  ncclComm_t comm;
  float x = 5;
  int version = 0, mapped = 0;
  char line[1024], last[1024] = "";
  FILE* maps;
  ncclGetVersion(&version);
  if (ncclGetUniqueId(&id) != ncclSuccess || ncclCommInitRank(&comm, 1, id, 0) != ncclSuccess ||
      ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, NULL) != ncclSuccess ||
      ncclCommDestroy(comm) != ncclSuccess) {
    printf("failed: %s\n", ncclGetLastError(NULL));
    return 1;
  }
  maps = fopen("/proc/self/maps", "r");
  while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
    char* path = strchr(line, '/');
    if (path == NULL || strstr(path, "libnccl") == NULL || strcmp(path, last) == 0) continue;
    strcpy(last, path);
    ++mapped;
    printf("mapped %s", path);
  }
  printf("version %d, sum %g, %d mapped\n", version, (double)x, mapped);
  return 0;
}
"""


def uses_ours(output):
    assert "version 22809, sum 5, 1 mapped" in output and options.library in output, output


def stub(folder):
    """A library that calls itself NCCL and is of no use."""
    source = write(folder, "stub.c", "".join(f"int nccl{name}(void) {{ return 3; }}\n"
                                             for name in PLAIN))
    os.makedirs(os.path.join(folder, "stub"))
    return compile_to(folder, source, "stub/libnccl.so.2", "-shared", "-fPIC",
                      "-Wl,-soname,libnccl.so.2")


def application(folder, library, name, *flags):
    source = write(folder, f"{name}.c", APPLICATION)
    return compile_to(folder, source, name, f"-I{HEADERS}", "-DGOSSAMER_NCCL_WITHOUT_CUDA",
                      library, *flags)


DEVICE_CLIENT = r"""
#include <nccl.h>
#include <string.h>
extern char device_memory[64], managed_memory[64];
int main(void) {
  ncclComm_t comm;
  if (ncclCommInitAll(&comm, 1, NULL) != ncclSuccess) return 1;
  if (ncclAllReduce(device_memory, device_memory, 1, ncclFloat, ncclSum, comm, NULL) !=
      ncclInvalidUsage) return 2;
  if (strstr(ncclGetLastError(comm), "device memory") == NULL) return 3;
  if (ncclAllReduce(managed_memory, managed_memory, 1, ncclFloat, ncclSum, comm, NULL) !=
      ncclSuccess) return 4;
  return ncclCommDestroy(comm) == ncclSuccess ? 0 : 5;
}
"""
DRIVER = r"""
char device_memory[64], managed_memory[64];
int cuPointerGetAttribute(unsigned* answer, int attribute, unsigned long long pointer) {
  const int managed = pointer == (unsigned long long)managed_memory;
  if (!managed && pointer != (unsigned long long)device_memory) return 1;
  *answer = attribute == 2 ? 2 : attribute == 8 ? managed : 0;
  return 0;
}
"""


def NcclC06DeviceMemoryIsRefused(folder):
    """With a driver that knows one address as a device's and one as managed memory."""
    driver = compile_to(folder, write(folder, "driver.c", DRIVER), "libcuda.so.1", "-shared",
                        "-fPIC", "-Wl,-soname,libcuda.so.1")
    program = compile_to(folder, write(folder, "device.c", DEVICE_CLIENT), "device",
                         f"-I{HEADERS}", "-DGOSSAMER_NCCL_WITHOUT_CUDA", driver,
                         f"-Wl,-rpath,{folder}", *link_flags())
    run(program)


def NcclC07PreloadOverRpath(folder):
    other = stub(folder)
    rpath = f"-Wl,-rpath,{os.path.dirname(other)}"
    program = application(folder, other, "old", "-Wl,--disable-new-dtags", rpath)
    assert run(program, ok=False).returncode != 0, "the stub should have been used"
    uses_ours(run(program, env={"LD_PRELOAD": options.library}))
    # DT_RPATH is looked at before LD_LIBRARY_PATH, DT_RUNPATH after it
    ours = os.path.dirname(options.library)
    assert run(program, env={"LD_LIBRARY_PATH": ours}, ok=False).returncode != 0
    program = application(folder, other, "new", "-Wl,--enable-new-dtags", rpath)
    uses_ours(run(program, env={"LD_LIBRARY_PATH": ours}))


def NcclC07PreloadOverTheToolkits(folder):
    _, theirs = cuda()
    program = application(folder, theirs, "real", "-Wl,--disable-new-dtags",
                          f"-Wl,-rpath,{os.path.dirname(theirs)}")
    uses_ours(run(program, env={"LD_PRELOAD": options.library}))


def NcclC07BareNameInPython(_):
    text = ("import ctypes; library = ctypes.CDLL('libnccl.so.2'); v = ctypes.c_int();"
            "library.ncclGetVersion(ctypes.byref(v)); print(v.value)")
    env = {"LD_PRELOAD": options.library}
    assert run(sys.executable, "-c", text, env=env).strip() == "22809"
    env = {"LD_LIBRARY_PATH": os.path.dirname(options.library)}
    assert run(sys.executable, "-c", text, env=env).strip() == "22809"


def client(folder, name, *flags):
    source = os.path.join(ROOT, "tests", "nccl_client.cc")
    program = compile_to(folder, source, name, "-std=c++17", "-O1", *flags, *link_flags())
    undefined = run("nm", "--undefined-only", program)
    asked = set(re.findall(r"\b(p?nccl\w+)", undefined))
    assert asked and asked <= set(symbols(options.library)), asked
    output = run(program, "3", "12000")
    assert "all right" in output and "library 22809" in output, output


def NcclC08ClientOfNcclTests(folder):
    client(folder, "plain", f"-I{HEADERS}", "-DGOSSAMER_NCCL_WITHOUT_CUDA")
    client(folder, "newer", f"-I{HEADERS}", "-DGOSSAMER_NCCL_WITHOUT_CUDA", "-DGOSSAMER_NCCL_2_28")


def NcclC08ClientWithTheToolkitsHeader(folder):
    client(folder, "theirs", "-isystem", cuda()[0])


def NcclC09NamesThatClientsAskFor(folder):
    library = ctypes.CDLL(options.library, mode=os.RTLD_NOW)
    for names in (VLLM, CUPY, XLA):
        for name in names:
            assert getattr(library, f"nccl{name}")
    assert len(VLLM) == 16 and len(PYTORCH) == 38
    # an extension module as PyTorch's: all references bound when it is loaded
    source = write(folder, "module.c", "".join(f"extern int nccl{n}(void);\n" for n in PYTORCH) +
                   "void* all[] = {" + ", ".join(f"(void*)nccl{n}" for n in PYTORCH) + "};\n" +
                   "int count(void) { return sizeof(all) / sizeof(*all); }\n")
    module = compile_to(folder, source, "module.so", "-shared", "-fPIC", "-Wl,-z,now",
                        *link_flags())
    assert ctypes.CDLL(module, mode=os.RTLD_NOW).count() == 38


VLLM_CLIENT = r"""
import ctypes, multiprocessing, sys

class UniqueId(ctypes.Structure):
    _fields_ = [("internal", ctypes.c_byte * 128)]

P, INT, SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
TYPES = {
    "ncclGetErrorString": (ctypes.c_char_p, [INT]),
    "ncclGetVersion": (INT, [ctypes.POINTER(INT)]),
    "ncclGetUniqueId": (INT, [ctypes.POINTER(UniqueId)]),
    "ncclCommInitRank": (INT, [ctypes.POINTER(P), INT, UniqueId, INT]),
    "ncclAllReduce": (INT, [P, P, SIZE, INT, INT, P, P]),
    "ncclReduce": (INT, [P, P, SIZE, INT, INT, INT, P, P]),
    "ncclAllGather": (INT, [P, P, SIZE, INT, P, P]),
    "ncclReduceScatter": (INT, [P, P, SIZE, INT, INT, P, P]),
    "ncclSend": (INT, [P, SIZE, INT, INT, P, P]),
    "ncclRecv": (INT, [P, SIZE, INT, INT, P, P]),
    "ncclBroadcast": (INT, [P, P, SIZE, INT, INT, P, P]),
    "ncclCommDestroy": (INT, [P]),
    "ncclGroupStart": (INT, []),
    "ncclGroupEnd": (INT, []),
    "ncclCommWindowRegister": (INT, [P, P, SIZE, ctypes.POINTER(P), INT]),
    "ncclCommWindowDeregister": (INT, [P, P]),
}

class Library:
    def __init__(self, path):
        library = ctypes.CDLL(path)
        for name, (result, arguments) in TYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, self.checked(function) if result is INT else function)
        self.text = library.ncclGetErrorString
    def checked(self, function):
        def call(*arguments):
            result = function(*arguments)
            if result != 0:
                raise RuntimeError(f"{function.__name__}: {self.text(result).decode()}")
        return call

def floats(*values):
    return (ctypes.c_float * len(values))(*values)

def rank_main(path, size, rank, queue):
    nccl = Library(path)
    version = INT()
    nccl.ncclGetVersion(ctypes.byref(version))
    text = str(version.value)  # major, minor and patch by decimal places
    assert (text[0], int(text[1:3]), int(text[3:])) == ("2", 28, 9), text
    unique = UniqueId()
    if rank == 0:
        nccl.ncclGetUniqueId(ctypes.byref(unique))
        for _ in range(size - 1):
            queue.put(bytes(unique.internal))
    else:
        data = queue.get()
        for i, byte in enumerate(data):
            unique.internal[i] = byte if byte < 128 else byte - 256
    comm = P()
    nccl.ncclCommInitRank(ctypes.byref(comm), size, unique, rank)
    x = floats(rank + 1)
    nccl.ncclAllReduce(x, x, 1, 7, 0, comm, None)
    total = size * (size + 1) / 2
    assert x[0] == total, x[0]
    gathered = floats(*[0] * size)
    nccl.ncclAllGather(floats(rank), gathered, 1, 7, comm, None)
    assert list(gathered) == list(range(size))
    part = floats(0)
    nccl.ncclReduceScatter(floats(*range(size)), part, 1, 7, 0, comm, None)
    assert part[0] == rank * size
    root = floats(0)
    nccl.ncclReduce(floats(1), root, 1, 7, 0, 0, comm, None)
    assert rank != 0 or root[0] == size
    # all-gather of uneven parts: broadcasts of different roots in a group
    parts = [floats(*[-1] * (r + 1)) for r in range(size)]
    nccl.ncclGroupStart()
    for r in range(size):
        mine = floats(*[r] * (r + 1)) if r == rank else parts[r]
        keep = mine if r == rank else None
        nccl.ncclBroadcast(keep, parts[r], r + 1, 7, r, comm, None)
        parts.append(keep)
    nccl.ncclGroupEnd()
    for r in range(size):
        assert list(parts[r]) == [r] * (r + 1)
    got = floats(-1)
    nccl.ncclGroupStart()
    out = floats(rank)
    nccl.ncclSend(out, 1, 7, (rank + 1) % size, comm, None)
    nccl.ncclRecv(got, 1, 7, (rank - 1) % size, comm, None)
    nccl.ncclGroupEnd()
    assert got[0] == (rank - 1) % size
    window = P()
    nccl.ncclCommWindowRegister(comm, x, 4, ctypes.byref(window), 1)
    nccl.ncclCommWindowDeregister(comm, window)
    if rank == 0:
        nccl.ncclCommDestroy(comm)  # the others never do

if __name__ == "__main__":
    size, queue = 3, multiprocessing.Queue()
    ranks = [multiprocessing.Process(target=rank_main, args=(sys.argv[1], size, r, queue))
             for r in range(size)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
    sys.exit(any(process.exitcode != 0 for process in ranks))
"""


def NcclC09ClientOfVllm(folder):
    run(sys.executable, write(folder, "client.py", VLLM_CLIENT), options.library)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("check")
    parser.add_argument("--library", required=True)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--cxx", default="c++")
    parser.parse_args(namespace=options)
    options.library = os.path.abspath(options.library)
    with tempfile.TemporaryDirectory() as folder:
        try:
            globals()[options.check](folder)
        except Skip as reason:
            print(f"skipped: {reason}")
            return SKIPPED
    print(f"{options.check}: passed")
    return 0


sys.exit(main())
