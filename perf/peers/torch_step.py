#!/usr/bin/env python3
"""One rank of PyTorch's side of step.py: DistributedDataParallel over Gloo, a communication hook of
its own, gradients of a known model's size.

The model's loss is a weighted sum of its parameters, so that its gradients are the weights, and
what a step takes beyond one without communication (no_sync) is communication. Prints
"milliseconds of a step,milliseconds without communication,library of its products" on rank 0.

PowerSGD's gradients have one bucket. Its callbacks run on the two threads of Gloo's process group
and wait there for a further all-reduce, which needs such a thread too: two buckets whose callbacks
wait at a time wait for ever. Where they do not, callbacks of different buckets issue their
all-reduces in an order of each rank's own, and these are matched by their order: PyTorch 1.13 then
aborts with gloo::EnforceNotMet, "op.preamble.length <= op.nbytes". With one bucket neither happens.
"""
import argparse
import contextlib
import datetime
import statistics
import time

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel


def resnet18_cifar():
    """Shapes in the order of the layers: 62 tensors, 11,173,962 elements."""
    shapes = []

    def convolution(outputs, inputs, width):
        shapes.append((outputs, inputs, width, width))
        shapes.extend([(outputs,), (outputs,)])

    convolution(64, 3, 3)
    inputs = 64
    for planes in (64, 128, 256, 512):
        for _ in range(2):
            convolution(planes, inputs, 3)
            convolution(planes, planes, 3)
            if inputs != planes:
                convolution(planes, inputs, 1)
            inputs = planes
    shapes.extend([(10, 512), (10,)])
    return shapes


class Model(torch.nn.Module):
    def __init__(self, shapes, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weights = [torch.randn(s, generator=generator) ** 5 for s in shapes]
        self.parts = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(s)) for s in shapes])

    def forward(self, _):
        return sum((p * w).sum() for p, w in zip(self.parts, self.weights))


def product_library():
    """What multiplies matrices: Debian's PyTorch takes the machine's libblas.so.3."""
    torch.ones(2, 2) @ torch.ones(2, 2)
    with open("/proc/self/maps", encoding="utf-8") as maps:
        mapped = maps.read()
    known = {"openblas": "OpenBLAS", "libmkl": "MKL", "libblis": "BLIS", "atlas": "ATLAS"}
    return next((name for file, name in known.items() if file in mapped), "the reference BLAS")


def step(model, synchronised):
    with contextlib.nullcontext() if synchronised else model.no_sync():
        model(torch.zeros(1)).backward()
    for p in model.parameters():
        p.grad = None


def timed(model, steps, synchronised):
    times = []
    for _ in range(steps):
        dist.barrier()
        begun = time.monotonic()
        step(model, synchronised)
        slowest = torch.tensor([time.monotonic() - begun])
        dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
        times.append(float(slowest) * 1e3)
    return statistics.median(times)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rank", type=int, required=True)
    p.add_argument("--ranks", type=int, required=True)
    p.add_argument("--meet", required=True, help="tcp://host:port of rank 0")
    p.add_argument("--hook", choices=["none", "fp16", "powersgd"], required=True)
    p.add_argument("--matrix-rank", type=int, default=4)
    p.add_argument("--bucket-mb", type=float, default=25, help="most of a bucket; not of powersgd")
    p.add_argument("--views", action="store_true", help="gradients stay in their buckets")
    p.add_argument("--steps", type=int, default=10)
    a = p.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=a.meet, rank=a.rank, world_size=a.ranks,
                            timeout=datetime.timedelta(seconds=120))
    if a.hook == "powersgd":
        a.bucket_mb = 1024
        dist._DEFAULT_FIRST_BUCKET_BYTES = 1 << 30  # a setting, for all that its name says
    model = DistributedDataParallel(Model(resnet18_cifar(), a.rank), bucket_cap_mb=a.bucket_mb,
                                    gradient_as_bucket_view=a.views)
    if a.hook == "fp16":
        model.register_comm_hook(None, default_hooks.fp16_compress_hook)
    elif a.hook == "powersgd":
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=a.matrix_rank,
                                            start_powerSGD_iter=2, min_compression_rate=2)
        model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    for _ in range(4):  # buckets are rebuilt, and PowerSGD begins
        step(model, True)
    with_it = timed(model, a.steps, True)
    without = timed(model, a.steps, False)
    if a.rank == 0:
        print(f"{with_it},{without},{product_library()}")


if __name__ == "__main__":
    main()
