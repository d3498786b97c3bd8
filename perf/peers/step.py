#!/usr/bin/env python3
"""Times training steps with compressed gradients on shaped links: against dense ones, against the
time that their bytes need, and against PyTorch's own communication hooks.

`ranks` network namespaces, each sending at --rates; a step computes for --compute-ms (slept), then
averages the gradients of a model of ResNet-18's size for CIFAR-10 (44.7 MB in fp32) through the
gradient hook. All methods run in turn, several rounds; a figure is the median of the rounds'.

predicted   computation + processor time of the busiest rank outside the kernel, times ranks per
            core, since all run on this machine, + bytes sent / goodput, which is 1448/1514 of the
            rate, as TCP over Ethernet leaves it
met         measured speed-up over the dense step of the same round / the predicted one
Needs root. With --torch also python3-torch. There `communication` is a whole step of ours, without
computation, against a step of theirs minus one without communication. Both copy gradients into
buckets and back, or have them there (--in-place). PyTorch multiplies with libblas.so.3: install
libopenblas0-pthread, the reference BLAS takes up to 20 times as long.
"""
import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
# Of matrices, with which feedback, and of what is left.
METHODS = [("", "", ""), ("fp16", "", ""), ("int8:block=256", "", ""), ("sign", "ef14", ""),
           ("powersgd:rank=4", "", ""), ("topk:ratio=0.001", "ef14", ""),
           ("topk:ratio=0.001,index=rice", "dgc:momentum=0.9", "bf16")]


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="build/release/bin", help="where the gossamer command is")
    p.add_argument("--ranks", type=int, default=4)
    p.add_argument("--rates", default="1000,100", help="Mbit/s")
    p.add_argument("--compute-ms", type=float, default=100)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--only", default="", help="methods that contain this, dense beside them")
    p.add_argument("--torch", action="store_true", help="compare with PyTorch's hooks instead")
    p.add_argument("--in-place", action="store_true", help="gradients are computed in buckets")
    p.add_argument("--python", default="/usr/bin/python3", help="the one that has torch")
    p.add_argument("--timeout", type=float, default=300, help="of one run, seconds")
    return p.parse_args()


def shape(ranks, mbit):
    for n in range(ranks):
        subprocess.run(f"tc -n gossamer{n} qdisc replace dev eth0 root tbf rate {mbit}mbit burst "
                       "256kb latency 50ms".split(), check=True)


def ours(a, codec, feedback, rest, compute_ms):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/out.csv"
        flags = [f"{a.bin}/gossamer", "step", "--steps", str(a.steps), "--compute-ms",
                 str(compute_ms), "--transport", "tcp"]
        flags += ["--in-place"] if a.in_place else []
        flags += ["--codec", codec] if codec else []
        flags += ["--feedback", feedback] if feedback else []
        flags += ["--rest-codec", rest] if rest else []
        together = [(compare.in_namespace(rank, flags + (["--csv", path] if rank == 0 else [])),
                     {"GOSSAMER_RANK": str(rank), "GOSSAMER_SIZE": str(a.ranks),
                      "GOSSAMER_RENDEZVOUS": f"tcp://{compare.NETWORK}1:47110",
                      "GOSSAMER_SOCKET_IFNAME": "eth0"}) for rank in range(a.ranks)]
        _, failure = compare.run_together(together, a.timeout)
        if failure:
            sys.exit(f"step: {codec or 'dense'}: {failure}")
        with open(path, encoding="utf-8") as file:
            row = next(csv.DictReader(file))
    return float(row["ms_per_step"]), float(row["bytes_sent"]), float(row["processor_ms"])


def theirs(a, hook):
    command = [a.python, f"{HERE}/torch_step.py", "--ranks", str(a.ranks), "--hook", hook, "--meet",
               f"tcp://{compare.NETWORK}1:47120", "--steps", str(a.steps)]
    command += ["--views"] if a.in_place else []
    together = [(compare.in_namespace(rank, command + ["--rank", str(rank)]),
                 {"GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1",
                  "OPENBLAS_NUM_THREADS": "1"})
                for rank in range(a.ranks)]
    out, failure = compare.run_together(together, a.timeout)
    if failure:
        print(f"step: PyTorch's {hook}: {failure}", file=sys.stderr)
        return None
    with_it, without, library = out.strip().split("\n")[-1].split(",")
    return float(with_it) - float(without), library


def median(rows, column):
    return statistics.median(row[column] for row in rows)


def against_dense(a, mbit):
    methods = [m for m in METHODS if not m[0] or a.only in m[0]]
    runs = {m: [] for m in methods}
    for _ in range(a.rounds):
        for m in methods:
            runs[m].append(ours(a, *m, a.compute_ms))
    goodput = mbit * 1e6 / 8 * 1448 / 1514
    per_core = max(1, a.ranks / len(os.sched_getaffinity(0)))

    def predicted(m):
        return a.compute_ms + per_core * median(runs[m], 2) + median(runs[m], 1) / goodput * 1e3

    dense = methods[0]
    print(f"\n{a.ranks} ranks, {mbit} Mbit/s, {a.compute_ms:g} ms of computation\n")
    print("| method | ms/step | MB sent | user ms | predicted ms | speed-up | predicted | "
          "met |")
    print("|---|---|---|---|---|---|---|---|")
    for m in methods:
        faster = statistics.median(d[0] / r[0] for d, r in zip(runs[dense], runs[m]))
        foretold = predicted(dense) / predicted(m)
        name = " + ".join(part for part in m if part) or "dense"
        print(f"| {name} | {median(runs[m], 0):.1f} | {median(runs[m], 1) / 1e6:.3f} | "
              f"{median(runs[m], 2):.1f} | {predicted(m):.1f} | {faster:.2f} | {foretold:.2f} | "
              f"{faster / foretold:.2f} |", flush=True)


def against_torch(a, mbit):
    pairs = [("fp16", "fp16"), ("powersgd:rank=4", "powersgd")]
    pairs = [pair for pair in pairs if a.only in pair[0]]
    print(f"\n{a.ranks} ranks, {mbit} Mbit/s, communication of a step, gradients "
          f"{'in buckets' if a.in_place else 'copied'}\n")
    print("| method | gossamer ms | PyTorch over Gloo ms | times faster | its products by |")
    print("|---|---|---|---|---|")
    for codec, hook in pairs:
        rows = []
        for _ in range(a.rounds):
            own = ours(a, codec, "", "", 0)[0]
            peer = theirs(a, hook)
            if peer is not None:
                rows.append((own, *peer))
        if not rows:
            continue
        print(f"| {codec} | {median(rows, 0):.1f} | {median(rows, 1):.1f} | "
              f"{statistics.median(row[1] / row[0] for row in rows):.2f} | {rows[0][2]} |",
              flush=True)


def main():
    a = arguments()
    a.bin = os.path.abspath(a.bin)
    with compare.Shaped(a.ranks):
        for mbit in (int(rate) for rate in a.rates.split(",")):
            shape(a.ranks, mbit)
            if a.torch:
                against_torch(a, mbit)
            else:
                against_dense(a, mbit)


if __name__ == "__main__":
    main()
