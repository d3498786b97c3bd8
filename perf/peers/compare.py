#!/usr/bin/env python3
"""Times Gossamer and its peers side by side and prints how they compare.

A cell is a setting, a number of ranks and a size. In each cell all contestants run in turn, several
rounds, so that a disturbance of the machine hits all alike; a contestant's figure is the median of
its rounds' medians. Everyone is timed by the same code (perf/measure.cc): float32 sums where a
collective reduces, else bytes; all-reduce and broadcast in place, the others not; root 0; every
element checked. A peer that is far behind after the
first round is not run again in that cell. Ratios are best peer / Gossamer: above 1, Gossamer is
faster.
"""
import argparse
import collections
import csv
import io
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NETWORK = "10.213.77."
OPS = ("all_reduce", "all_gather", "broadcast", "reduce", "reduce_scatter", "all_to_all", "gather",
       "scatter")
HOPELESS = 2.0  # times the best peer after the first round
# Settings in which Gossamer and Open MPI run over the same lanes of UCX.
UCX = {"ucx-sm": {"UCX_TLS": "posix,sysv,cma,self"},
       "ucx-tcp": {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "lo"}}
SETTINGS = {"shm", "tcp", "shaped", *UCX}


def parse_size(text):
    match = re.fullmatch(r"(\d+)([KMG]?)", text.upper())
    if not match:
        sys.exit(f"compare: '{text}' is not a size: write for example 8, 1K, 64M")
    return int(match.group(1)) << {"": 0, "K": 10, "M": 20, "G": 30}[match.group(2)]


def size_text(number):
    for shift, unit in ((20, "MiB"), (10, "KiB")):
        if number >= 1 << shift and number % (1 << shift) == 0:
            return f"{number >> shift} {unit}"
    return f"{number} B"


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="build/release/bin", help="where the built drivers are")
    p.add_argument("--out", default="build/bench", help="where peers.csv and peers.md go")
    p.add_argument("--settings", default="shm,tcp,shaped",
                   help="of shm, tcp, shaped (needs root), ucx-sm, ucx-tcp")
    p.add_argument("--ranks", default="2,4,8")
    p.add_argument("--sizes", default="8,1K,64K,1M,16M,64M")
    p.add_argument("--ops", default="all_reduce,all_gather")
    p.add_argument("--all", action="store_true", help="every collective instead of --ops")
    p.add_argument("--only", default="", help="regular expression of contestants' names")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=0.5, help="timed per operation and round")
    p.add_argument("--timeout", type=float, default=120, help="of one run, seconds")
    p.add_argument("--quick", action="store_true", help="fewer cells, one round")
    p.add_argument("--list", action="store_true", help="print the contestants and end")
    a = p.parse_args()
    if a.quick:
        a.sizes, a.ranks, a.rounds, a.seconds = "8,64K,16M", "2,4", 1, 0.2
        a.settings = "shm,tcp"
    a.sizes = [parse_size(s) for s in a.sizes.split(",")]
    a.ranks = [int(r) for r in a.ranks.split(",")]
    a.ops = list(OPS) if a.all else a.ops.split(",")
    a.settings = a.settings.split(",")
    unknown = set(a.settings) - SETTINGS | set(a.ops) - set(OPS)
    if unknown:
        sys.exit(f"compare: no such setting or operation: {', '.join(sorted(unknown))}")
    a.bin = os.path.abspath(a.bin)
    return a


# --- contestants ---------------------------------------------------------------------------------

class Contestant:
    """Runs one cell and returns its CSV rows."""

    has = OPS

    def __init__(self, name, setting, ours=False):
        self.name, self.setting, self.ours = name, setting, ours

    def commands(self, cell):
        """[(list of (command, environment) to run together), ...] one after another."""
        raise NotImplementedError


class Gossamer(Contestant):
    def __init__(self, setting, registered=False):
        super().__init__("gossamer" + ("-registered" if registered else ""), setting, True)
        self.registered = registered

    def commands(self, cell):
        for op in cell.ops:
            flags = [f"{cell.bin}/gossamer", "perf", op, "-b", str(cell.bytes), "-e",
                     str(cell.bytes), "-w", "40" if cell.bytes <= 1 << 20 else "5", "-c", "1",
                     "--seconds", str(cell.seconds), "--csv", f"{cell.folder}/{op}.csv",
                     "--transport", "ucx" if self.setting in UCX else
                     "shm" if self.setting == "shm" else "tcp"]
            flags += ["--place", "in" if op in ("all_reduce", "broadcast") else "out"]
            flags += ["-d", "float32" if "reduce" in op else "uint8"]
            flags += ["--memory", "registered"] if self.registered else []
            if self.setting != "shaped":
                yield [(flags + ["--ranks", str(cell.ranks)], UCX.get(self.setting, {}))]
                continue
            yield [(in_namespace(rank, flags),
                    {"GOSSAMER_RANK": str(rank), "GOSSAMER_SIZE": str(cell.ranks),
                     "GOSSAMER_RENDEZVOUS": f"tcp://{NETWORK}1:47110",
                     "GOSSAMER_SOCKET_IFNAME": "eth0"}) for rank in range(cell.ranks)]


class Mpi(Contestant):
    def __init__(self, name, setting, driver, launcher, environment=None):
        super().__init__(name, setting)
        self.driver, self.launcher, self.environment = driver, launcher, environment or {}

    def commands(self, cell):
        launcher = [word.replace("{n}", str(cell.ranks)) for word in self.launcher]
        yield [(launcher + [f"{cell.bin}/{self.driver}"] + cell.driver_flags(self.name),
                self.environment)]


class Gloo(Contestant):
    has = OPS[:2]

    def __init__(self, setting, algorithm, mode="async"):
        super().__init__("gloo-" + algorithm + ("" if mode == "async" else "-" + mode), setting)
        self.algorithm, self.mode = algorithm, mode

    def commands(self, cell):
        store = tempfile.mkdtemp(dir=cell.folder)
        shaped = self.setting == "shaped"
        flags = [f"{cell.bin}/peer_gloo"] + cell.driver_flags(self.name) + [
            "--store", store, "--algorithm", self.algorithm, "--mode", self.mode,
            "--interface", "eth0" if shaped else "lo"]
        yield [(in_namespace(rank, flags) if shaped else flags,
                {"GOSSAMER_RANK": str(rank), "GOSSAMER_SIZE": str(cell.ranks)})
               for rank in range(cell.ranks)]


def in_namespace(rank, command):
    return ["ip", "netns", "exec", f"gossamer{rank}"] + command


def contestants(setting, ranks, cores):
    """Everyone in this setting. With more ranks than cores, a peer that spins without yielding
    collapses to scheduler slices: there only yielding variants run."""
    crowded = ranks > cores
    yields = ("1",) if crowded else ("0", "1")
    openmpi = ["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "-np", "{n}"]
    ob1 = ["--mca", "pml", "ob1", "--mca", "btl"]
    any_ucx = ["--mca", "pml", "ucx", "--mca", "pml_ucx_tls", "any", "--mca", "pml_ucx_devices",
               "any"]
    mpich = ["mpirun.mpich", "-np", "{n}"]
    tcp_only = {"MPIR_CVAR_NOLOCAL": "1", "UCX_TLS": "tcp,self"}
    yield Gossamer(setting)
    if setting == "shm":
        yield Gossamer(setting, registered=True)
    if setting in UCX:
        for value in yields:
            yield Mpi("openmpi-ucx" + ("-yield" if value == "1" else "-spin"), setting,
                      "peer_openmpi", openmpi + any_ucx + ["--mca", "mpi_yield_when_idle", value],
                      UCX[setting])
    elif setting == "shaped":
        hosts = ",".join(f"{NETWORK}{r + 1}" for r in range(ranks))
        agent = f"{HERE}/in_namespace.sh"
        yield Mpi("openmpi-tcp", setting, "peer_openmpi",
                  openmpi[:2] + ["-np", "{n}", "--host", hosts, "--mca", "plm", "rsh", "--mca",
                                 "plm_rsh_agent", agent, *ob1, "tcp,self", "--mca",
                                 "btl_tcp_if_include", NETWORK + "0/24", "--mca",
                                 "oob_tcp_if_include", NETWORK + "0/24", "--mca",
                                 "mpi_yield_when_idle", "1", "--leave-session-attached"])
        yield Mpi("mpich-tcp", setting, "peer_mpich",
                  ["mpirun.mpich", "-launcher", "ssh", "-launcher-exec", agent, "-np", "{n}",
                   "-hosts", hosts, "-iface", "gossamerbr", "-genv", "UCX_TLS", "tcp,self",
                   "-genv", "UCX_NET_DEVICES", "eth0", "-genv", "MPIR_CVAR_NOLOCAL", "1"])
    elif setting == "shm":
        for value in yields:
            kind = "-yield" if value == "1" else "-spin"
            idle = ["--mca", "mpi_yield_when_idle", value]
            yield Mpi("openmpi-vader" + kind, setting, "peer_openmpi",
                      openmpi + ob1 + ["vader,self"] + idle)
            yield Mpi("openmpi-ucx" + kind, setting, "peer_openmpi",
                      openmpi + any_ucx + idle)
        yield Mpi("mpich-shm", setting, "peer_mpich", mpich)
        if crowded:
            yield Mpi("mpich-shm-yield", setting, "peer_mpich", mpich,
                      {"MPIR_CVAR_POLLS_BEFORE_YIELD": "1"})
    else:
        for value in yields:
            yield Mpi("openmpi-tcp" + ("-yield" if value == "1" else "-spin"), setting,
                      "peer_openmpi",
                      openmpi + ob1 + ["tcp,self", "--mca", "btl_tcp_if_include", "lo", "--mca",
                                       "mpi_yield_when_idle", value])
        yield Mpi("mpich-tcp", setting, "peer_mpich", mpich, {**tcp_only, "UCX_NET_DEVICES": "lo"})
    if setting in ("tcp", "shaped"):
        for algorithm in ("new_ring", "ring_chunked", "halving_doubling"):
            yield Gloo(setting, algorithm)
        if setting == "tcp" and not crowded:
            yield Gloo(setting, "halving_doubling", "busy")


# --- one run -------------------------------------------------------------------------------------

class Cell:
    def __init__(self, a, setting, ranks, size):
        self.bin, self.ops, self.seconds, self.timeout = a.bin, a.ops, a.seconds, a.timeout
        self.setting, self.ranks, self.bytes = setting, ranks, size
        if setting == "shaped":
            self.seconds = max(self.seconds, 8 * size / 1e8)  # a few operations at line rate
        self.folder = self.board = ""

    def driver_flags(self, name):
        return ["--name", name, "--board", self.board, "--sizes", str(self.bytes), "--ops",
                ",".join(self.ops), "--seconds", str(self.seconds)]

    def run(self, contestant):
        """CSV rows as dictionaries, and an error text ('' when all went well)."""
        rows = []
        self.folder = tempfile.mkdtemp(prefix="gossamer-compare-")
        try:
            for together in contestant.commands(self):
                text, error = run_together(together, self.timeout)
                if error:
                    return rows, error
                rows += read_rows(text)
            for op in self.ops:
                path = f"{self.folder}/{op}.csv"
                if os.path.exists(path):
                    with open(path, encoding="utf-8") as file:
                        rows += read_rows(file.read())
            return rows, "" if rows else "no result"
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def read_rows(text):
    lines = text.split("\n")
    header = next((i for i, line in enumerate(lines) if line.startswith("op,ranks,")), None)
    if header is None:
        return []
    columns = len(lines[header].split(","))
    body = [lines[header]] + [line for line in lines[header + 1:]
                              if line.count(",") == columns - 1]
    return list(csv.DictReader(io.StringIO("\n".join(body))))


def run_together(commands, timeout):
    """Runs commands at the same time; (standard output of all, '' or why it failed)."""
    started, deadline = [], time.monotonic() + timeout
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            for command, environment in commands:
                started.append(subprocess.Popen(command, stdout=out, stderr=err, text=True,
                                                env={**os.environ, **environment},
                                                stdin=subprocess.DEVNULL, start_new_session=True))
            codes = [p.wait(max(0.1, deadline - time.monotonic())) for p in started]
            failure = next((f"exit code {c}" for c in codes if c != 0), "")
        except subprocess.TimeoutExpired:
            failure = f"not done in {timeout:.0f} s"
        except OSError as error:
            failure = str(error)
        finally:
            for p in started:
                stop(p)
        out.seek(0)
        err.seek(0)
        last = [line for line in err.read().split("\n") if line.strip()][-3:]
        return out.read(), failure and f"{failure}: {' / '.join(last)}"


def stop(process):
    for sign, patience in ((signal.SIGTERM, 2), (signal.SIGKILL, 5)):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, sign)
            process.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


# --- shaped links --------------------------------------------------------------------------------

class Shaped:
    """`ranks` network namespaces on one bridge, each sending at 1 Gbit/s."""

    def __init__(self, ranks):
        self.ranks = ranks

    def __enter__(self):
        self.down()
        ip("link add gossamerbr type bridge")
        ip(f"addr add {NETWORK}254/24 dev gossamerbr")
        ip("link set gossamerbr up")
        for n in range(self.ranks):
            ip(f"netns add gossamer{n}")
            ip(f"link add gossamerv{n} type veth peer name eth0 netns gossamer{n}")
            ip(f"link set gossamerv{n} master gossamerbr up")
            ip(f"-n gossamer{n} addr add {NETWORK}{n + 1}/24 dev eth0")
            ip(f"-n gossamer{n} link set lo up")
            ip(f"-n gossamer{n} link set eth0 up")
            subprocess.run(f"tc -n gossamer{n} qdisc add dev eth0 root tbf rate 1gbit burst 256kb "
                           "latency 50ms".split(), check=True)
        return self

    def __exit__(self, *_):
        self.down()

    def down(self):
        for n in range(self.ranks):
            ip(f"netns del gossamer{n}", check=False)
        ip("link del gossamerbr", check=False)


def ip(words, check=True):
    done = subprocess.run(["ip"] + words.split(), capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"ip {words}: {done.stderr.strip()}")


# --- all cells, and what they say ----------------------------------------------------------------

class Comparison:
    def __init__(self, a):
        self.a = a
        self.cores = len(os.sched_getaffinity(0))
        self.times = collections.defaultdict(list)  # (setting, op, ranks, bytes, name) -> medians
        self.wrong = 0
        self.failures = []
        os.makedirs(a.out, exist_ok=True)
        self.raw = open(f"{a.out}/peers.csv", "w", encoding="utf-8")
        self.wrote_header = False

    def run(self):
        for setting in self.a.settings:
            if setting == "shaped":
                if os.geteuid() != 0:
                    print("shaped links left out: they need root", file=sys.stderr)
                    continue
                with Shaped(4):
                    for size in [s for s in self.a.sizes if s >= 1 << 20]:
                        self.run_cell(Cell(self.a, setting, 4, size))
                continue
            for ranks in self.a.ranks:
                for size in self.a.sizes:
                    self.run_cell(Cell(self.a, setting, ranks, size))

    def run_cell(self, cell):
        everyone = [c for c in contestants(cell.setting, cell.ranks, self.cores)
                    if (c.ours or re.search(self.a.only, c.name)) and set(c.has) & set(cell.ops)]
        for number in range(self.a.rounds):
            for contestant in everyone:
                self.run_one(cell, contestant, number)
            everyone = [c for c in everyone if c.ours or self.has_hope(cell, c)]
        for op in cell.ops:
            line = self.compare(cell.setting, op, cell.ranks, cell.bytes)
            if line:
                print(" ".join(f"{text:>{width}}" for text, width in
                               zip(line, (7, 14, 3, 8, 12, 12, 26, 7, 12, 7))), flush=True)

    def run_one(self, cell, contestant, number):
        handle, cell.board = tempfile.mkstemp(prefix="gossamer-board-", dir="/dev/shm")
        os.close(handle)
        try:
            rows, error = cell.run(contestant)
        finally:
            os.unlink(cell.board)
        where = f"{cell.setting}, {cell.ranks} ranks, {size_text(cell.bytes)}: {contestant.name}"
        if error:
            print(f"{where}: {error}", file=sys.stderr, flush=True)
            self.failures.append((contestant.ours, where))
        for row in rows:
            if not self.wrote_header:
                self.raw.write("setting,contestant,round," + ",".join(row) + "\n")
                self.wrote_header = True
            self.raw.write(",".join([cell.setting, contestant.name, str(number), *row.values()]) +
                           "\n")
            if int(row["wrong"]) > 0:
                print(f"{where}: {row['wrong']} wrong elements", file=sys.stderr)
                self.wrong += contestant.ours
            self.times[cell.setting, row["op"], cell.ranks, cell.bytes, contestant.name].append(
                float(row["median_us"]))
        self.raw.flush()

    def peers_of(self, setting, op, ranks, size):
        return {key[4]: statistics.median(times) for key, times in self.times.items()
                if key[:4] == (setting, op, ranks, size) and not key[4].startswith("gossamer")}

    def has_hope(self, cell, contestant):
        for op in cell.ops:
            peers = self.peers_of(cell.setting, op, cell.ranks, cell.bytes)
            if contestant.name in peers and \
                    peers[contestant.name] <= HOPELESS * min(peers.values()):
                return True
        return False

    def ours(self, name, *cell):
        times = self.times.get((*cell, name))
        return statistics.median(times) if times else None

    def compare(self, *cell):
        """One line of the table; None without both sides."""
        peers, plain = self.peers_of(*cell), self.ours("gossamer", *cell)
        if not peers or plain is None:
            return None
        name, best = min(peers.items(), key=lambda item: item[1])
        registered = self.ours("gossamer-registered", *cell)
        setting, op, ranks, size = cell
        return [setting, op, str(ranks), size_text(size), figure(plain), figure(best), name,
                f"{best / plain:.2f}", figure(registered) if registered else "",
                f"{best / registered:.2f}" if registered else ""]

    def report(self):
        cells = sorted({key[:4] for key in self.times}, key=lambda c: (
            self.a.settings.index(c[0]), OPS.index(c[1]), c[2], c[3]))
        head = ["setting", "operation", "ranks", "bytes", "Gossamer us", "best peer us",
                "best peer", "ratio", "library buffers us", "ratio"]
        text = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        text += ["| " + " | ".join(line) + " |" for line in map(lambda c: self.compare(*c), cells)
                 if line]
        text += ["", *self.means(cells)]
        with open(f"{self.a.out}/peers.md", "w", encoding="utf-8") as file:
            file.write("\n".join(text) + "\n")
        print("\n".join(self.means(cells)))
        print(f"Every run: {self.a.out}/peers.csv; as a table: {self.a.out}/peers.md")
        return 1 if self.wrong or any(ours for ours, _ in self.failures) else 0

    def means(self, cells):
        for setting in self.a.settings:
            for op in self.a.ops:
                for name in ("gossamer", "gossamer-registered"):
                    ratios = [min(self.peers_of(*c).values()) / self.ours(name, *c) for c in cells
                              if c[0] == setting and c[1] == op and self.peers_of(*c)
                              and self.ours(name, *c)]
                    if ratios:
                        mean = math.exp(statistics.fmean(map(math.log, ratios)))
                        yield (f"{setting} {op}, {name}: {mean:.2f} x the best peer (geometric "
                               f"mean of {len(ratios)} cells), worst cell {min(ratios):.2f}, "
                               f"behind in {sum(r < 1 for r in ratios)}")


def figure(us):
    return f"{us:.2f}" if us < 100 else f"{us:.1f}" if us < 1000 else f"{us:,.0f}"


def main():
    a = arguments()
    if a.list:
        for setting in a.settings:
            for ranks in [4] if setting == "shaped" else a.ranks:
                for c in contestants(setting, ranks, len(os.sched_getaffinity(0))):
                    print(setting, ranks, c.name)
        return 0
    # terminated from outside, namespaces and child processes still go
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    comparison = Comparison(a)
    comparison.run()
    return comparison.report()


if __name__ == "__main__":
    sys.exit(main())
