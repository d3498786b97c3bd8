#!/usr/bin/env python3
"""One rank of PyTorch's side of step.py: DistributedDataParallel over Gloo, a communication hook of
its own, gradients of a known model's size.

The model's loss is a weighted sum of its parameters, so that its gradients are the weights, and
what a step takes beyond one without communication (no_sync) is communication. Prints
"milliseconds of a step,milliseconds without communication" on rank 0.
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
    p.add_argument("--steps", type=int, default=10)
    a = p.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=a.meet, rank=a.rank, world_size=a.ranks,
                            timeout=datetime.timedelta(seconds=120))
    model = DistributedDataParallel(Model(resnet18_cifar(), a.rank))
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
        print(f"{with_it},{without}")


if __name__ == "__main__":
    main()
