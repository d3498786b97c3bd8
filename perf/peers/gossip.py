#!/usr/bin/env python3
"""Times a step of gossip against a single exchange and against the ring all-reduce.

In each cell (setting, ranks, size) all of them run in turn, several rounds, and a figure is the
median of the rounds' medians: `sendrecv`, in which every rank sends the buffer to the next and
receives another from the one before; `neighbor_average` over one_peer_exponential in round 0, which
exchanges the same messages and averages; and all_reduce by the ring algorithm, in place. Out of
place, two buffers take turns (--swap), as in training: what is sent was written since it was sent
last. Were it not, an exchange would read again what its cache holds of the peer's memory, which no
average can do whose values change. Settings as in compare.py: shm, tcp (loopback), and shaped: a
network namespace per rank, each sending at 1 Gbit/s (needs root).
"""
import argparse
import csv
import os
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare  # noqa: E402

CONTESTANTS = {
    "exchange": ["sendrecv", "--swap"],
    "average": ["neighbor_average", "--graph", "one_peer_exponential", "--round", "0",
                "--swap"],
    "average in place": ["neighbor_average", "--graph", "one_peer_exponential", "--round", "0",
                         "--place", "in"],
    "ring": ["all_reduce", "--algorithm", "ring", "--place", "in"],
}


def commands(a, setting, ranks, size, name, path):
    flags = [f"{a.bin}/gossamer", "perf"] + CONTESTANTS[name]
    flags += ["-b", str(size), "-e", str(size), "--seconds", str(a.seconds), "--csv", path,
              "--transport", "shm" if setting == "shm" else "tcp"]
    flags += ["--memory", "registered"] if a.registered else []
    if setting != "shaped":
        return [(flags + ["--ranks", str(ranks)], {})]
    return [(compare.in_namespace(rank, flags),
             {"GOSSAMER_RANK": str(rank), "GOSSAMER_SIZE": str(ranks),
              "GOSSAMER_RENDEZVOUS": f"tcp://{compare.NETWORK}1:47110",
              "GOSSAMER_SOCKET_IFNAME": "eth0"}) for rank in range(ranks)]


def run(a, setting, ranks, size, name):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/out.csv"
        _, failure = compare.run_together(commands(a, setting, ranks, size, name, path), a.timeout)
        if failure:
            sys.exit(f"gossip: {name} of {size} bytes, {ranks} ranks, {setting}: {failure}")
        with open(path, encoding="utf-8") as file:
            row = list(csv.DictReader(file))[-1]
    if int(row["wrong"]) != 0:
        sys.exit(f"gossip: {name} of {size} bytes, {ranks} ranks, {setting}: wrong elements")
    return float(row["median_us"])


def cell(a, setting, ranks, size):
    times = {name: [] for name in CONTESTANTS}
    for _ in range(a.rounds):
        for name in CONTESTANTS:
            times[name].append(run(a, setting, ranks, size, name))
    t = {name: statistics.median(all_of) for name, all_of in times.items()}
    print(f"| {setting} | {ranks} | {compare.size_text(size)} "
          f"| {t['exchange']:.1f} | {t['average']:.1f} | {t['average in place']:.1f} "
          f"| {t['ring']:.1f} | {t['average'] / t['exchange']:.2f} "
          f"| {t['average in place'] / t['exchange']:.2f} "
          f"| {t['ring'] / t['average']:.2f} | {t['ring'] / t['average in place']:.2f} |",
          flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="build/release/bin", help="where the gossamer command is")
    p.add_argument("--settings", default="shm,tcp,shaped", help="of shm, tcp, shaped")
    p.add_argument("--ranks", default="2")
    p.add_argument("--sizes", default="64K,1M,16M")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=0.3, help="timed per run")
    p.add_argument("--timeout", type=float, default=120, help="of one run, seconds")
    p.add_argument("--registered", action="store_true", help="buffers from the library")
    a = p.parse_args()
    a.bin = os.path.abspath(a.bin)
    print("| setting | ranks | size | exchange us | average | in place | ring us "
          "| average / exchange | in place / exchange | ring / average | ring / in place |\n"
          + "|---" * 11 + "|")
    for setting in a.settings.split(","):
        for ranks in (int(r) for r in a.ranks.split(",")):
            sizes = [compare.parse_size(s) for s in a.sizes.split(",")]
            if setting == "shaped":
                with compare.Shaped(ranks):
                    for size in sizes:
                        cell(a, setting, ranks, size)
            else:
                for size in sizes:
                    cell(a, setting, ranks, size)


if __name__ == "__main__":
    main()
