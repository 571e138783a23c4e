#!/usr/bin/env python3
"""Measure the gain of each optimization of the step, alone and with the others.

    python benchmarks/step_means.py --models res50 res50_fpn --threads 2

"Without" compares the step without one optimization with the step with all; "alone"
compares the step with none with the step with one. Both give how many times as long the
slower one takes. One process runs all variants in turn, with the same network and
batch.
"""

import argparse
import contextlib
import ctypes
import importlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from faster_rcnn.cli.parser import Parser
from faster_rcnn.engine import solver
from faster_rcnn.kernels import convolution
from faster_rcnn.model import network
from faster_rcnn.nets import layers, resnet
from faster_rcnn.nets.layers import Norm
from faster_rcnn.utils import device as devices
from reporting import machine, markdown
from step import save
from torch import Tensor, nn
from whole_step.call import Step
from whole_step.intervals import Interval, ratio_interval, time_until
from whole_step.models import MODELS, Work
from whole_step.ways import build_step

PHASES = ("train", "infer")
BFLOAT16 = "bfloat16"
LIFTED = "the head's first layers on the map"
FOLDED = "frozen norms folded into convolutions"
TOGETHER = "all of them together"


def _apart(
    x: Tensor,
    conv: nn.Conv2d,
    norm: Norm,
    activation: convolution.Activation = "none",
    sizes: Tensor | None = None,
) -> Tensor:
    out = norm(layers.convolve(x, conv, conv.weight))
    return layers.activate(layers.zero_padding(out, sizes), activation)


@contextlib.contextmanager
def _replaced(*targets: tuple[object, str, object]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for owner, name, other in targets:
            stack.enter_context(mock.patch.object(owner, name, other))
        yield


def _all_anchors(step: Step) -> AbstractContextManager[None]:
    return _replaced((step.model.rpn.head, "is_cheaper_at", lambda *_: False))


def _not_lifted(step: Step) -> AbstractContextManager[None]:
    return _replaced(
        (step.model.box_head.regions, "lifted", lambda features, _: features)
    )


def _no_products(step: Step) -> AbstractContextManager[None]:
    return _replaced(
        *((room, "convolve", convolution._plainly) for room in (layers, resnet))
    )


def _norms_apart(step: Step) -> AbstractContextManager[None]:
    """Disable folded norms, and lifting, which requires them."""
    return _replaced(
        (layers, "conv_norm", _apart),
        (resnet, "conv_norm", _apart),
        (step.model.box_head.regions, "lifted", lambda features, _: features),
    )


def _no_kernels(step: Step) -> AbstractContextManager[None]:
    users = ("nms.nms", "kernels.pooling", "kernels.matching")
    modules = (importlib.import_module(f"faster_rcnn.{user}") for user in users)
    return _replaced(*((user, "kernels_for", lambda *_: None) for user in modules))


def _copied_gradients(step: Step) -> AbstractContextManager[None]:
    return _replaced((solver, "_as_it_lies", lambda gradient, _: gradient))


class _ContiguousTorch:
    """A stand-in for PyTorch that never uses channels_last."""

    channels_last = torch.contiguous_format

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextlib.contextmanager
def _contiguous(step: Step) -> Iterator[None]:
    step.model.to(memory_format=torch.contiguous_format)
    with _replaced((network, "torch", _ContiguousTorch())):
        yield
    step.model.to(memory_format=torch.channels_last)


@contextlib.contextmanager
def _memory_given_back(step: Step) -> Iterator[None]:
    """Free memory as glibc does by default: each block of 128 KiB gets new pages."""
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(devices._M_MMAP_THRESHOLD, 128 * 1024)
    mallopt(devices._M_TRIM_THRESHOLD, 128 * 1024)
    yield
    devices.keep_freed_memory()


WITHOUT: dict[str, Callable[[Step], AbstractContextManager[None]]] = {
    "own kernels in place of torchvision's": _no_kernels,
    "channels_last": _contiguous,
    FOLDED: _norms_apart,
    LIFTED: _not_lifted,
    "the RPN's gradient of drawn anchors alone": _all_anchors,
    "convolutions of regions by matrix products": _no_products,
    "the optimizer in the order of memory": _copied_gradients,
    "freed memory kept": _memory_given_back,
}
"""Contexts of a step that lacks a means."""


def ways(
    fast: Step, exact: Step
) -> dict[tuple[str, str], tuple[Step, tuple[str, ...]]]:
    """Return the steps to time, and the optimizations that each lacks.

    Args:
        fast: the step in bfloat16.
        exact: the step in float32.

    Returns:
        Steps by optimization and "without", "alone" or "all"; ``all`` has all of them.
    """
    every = tuple(WITHOUT)
    found = {
        ("", "all"): (fast, ()),
        (TOGETHER, "without"): (exact, every),
        (BFLOAT16, "without"): (exact, ()),
        (BFLOAT16, "alone"): (fast, every),
    }
    for name in WITHOUT:
        found[name, "without"] = (fast, (name,))
        if name != LIFTED:  # it cannot be had alone
            others = tuple(other for other in every if other != name)
            found[name, "alone"] = (exact, others)
    return found


def measure(
    work: Work, device: torch.device, *, until: float, limit: float
) -> dict[str, dict[str, Interval]]:
    """Measure how many times as long the step takes without each optimization.

    Args:
        work: network, size and phase.
        device: device of the computation.
        until: largest relative width of a ratio's 95 % interval.
        limit: seconds after which no new round begins.

    Returns:
        Ratios by optimization: the step ``without`` it over the step with all, and, if
        it works ``alone``, the step with none over the step with it.
    """
    fast = build_step("ours", work, device)
    exact = build_step("ours-float32", work, device)
    calls = {key: partial(_seconds, *way) for key, way in ways(fast, exact).items()}
    for call in calls.values():
        call()
    seconds = time_until(calls, until=until, limit=limit)
    whole, bare = seconds.pop(("", "all")), seconds[TOGETHER, "without"]
    ratios: dict[str, dict[str, Interval]] = {}
    for (name, how), times in seconds.items():
        slower, faster = (times, whole) if how == "without" else (bare, times)
        ratios.setdefault(name, {})[how] = ratio_interval(slower, faster)
    return ratios


def _seconds(step: Step, lacking: Iterable[str]) -> float:
    with contextlib.ExitStack() as stack:
        for name in lacking:
            stack.enter_context(WITHOUT[name](step))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        started = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started


def means_table(found: dict[str, dict[str, dict[str, Interval]]]) -> str:
    """Format a row for each optimization, and a column for each case."""
    names = [TOGETHER, BFLOAT16, *WITHOUT]

    def cell(ratios: dict[str, Interval]) -> str:
        ratio, low, high = ratios["without"]
        text = f"{ratio:.2f} ({low:.2f} to {high:.2f})"
        return text + (f", {ratios['alone'][0]:.2f}" if "alone" in ratios else "")

    rows = [[name, *(cell(case[name]) for case in found.values())] for name in names]
    return markdown(["means: without (95 %), alone", *found], rows)


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = Parser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="NET")
    parser.add_argument("--phases", nargs="+", default=PHASES, choices=PHASES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, nargs=2, default=(600, 800))
    parser.add_argument("--until", type=float, default=0.05)
    parser.add_argument(
        "--limit", type=float, default=120, help="maximum seconds per case"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


def main() -> None:
    """Measure, and print a table."""
    arguments = build_parser().parse_args()
    torch.set_num_threads(arguments.threads)
    devices.keep_freed_memory()
    found = {}
    for model in arguments.models:
        for phase in arguments.phases:
            work = Work(model, phase, size=tuple(arguments.size))
            device = torch.device(arguments.device)
            limits = {"until": arguments.until, "limit": arguments.limit}
            found[f"{model}, {phase}"] = measure(work, device, **limits)
            print(means_table(found), flush=True)
            save({"machine": machine(device), "means": found}, arguments)


if __name__ == "__main__":
    main()
