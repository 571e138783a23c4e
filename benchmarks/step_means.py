#!/usr/bin/env python3
"""What each means of making a step fast gains: the step without it, beside the whole.

    python benchmarks/step_means.py --models res50 res50_fpn --threads 2

One process, the same network and batch; the ways take turns.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from faster_rcnn.model.device import keep_freed_memory
from faster_rcnn.nets import convolution, layers, resnet
from faster_rcnn.nets.layers import Norm
from torch import Tensor, nn
from whole_step.call import Step
from whole_step.intervals import Interval, ratio_interval, time_until
from whole_step.models import MODELS, Work
from whole_step.ways import build_step

PHASES = ("train", "infer")


def _plain(x: Tensor, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None = None):
    return convolution._plainly(x, conv, weight, bias)


def _apart(x: Tensor, conv: nn.Conv2d, norm: Norm) -> Tensor:
    return norm(_plain(x, conv, conv.weight))


@contextlib.contextmanager
def _replaced(*targets: tuple[object, str, object]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for owner, name, other in targets:
            stack.enter_context(mock.patch.object(owner, name, other))
        yield


def _all_anchors(step: Step):
    return _replaced((step.model.rpn, "_recomputes", lambda _: False))


def _not_lifted(step: Step):
    return _replaced((step.model, "lifted", lambda features, _: features))


def _no_products(step: Step):
    return _replaced((layers, "convolve", _plain), (resnet, "convolve", _plain))


def _norms_apart(step: Step):
    return _replaced(
        (layers, "conv_norm", _apart),
        (resnet, "conv_norm", _apart),
        (step.model, "lifted", lambda features, _: features),
    )


def _no_kernels(step: Step):
    nothing = lambda *_: None  # noqa: E731
    return _replaced(
        *(
            (__import__(f"faster_rcnn.{name}", fromlist=["_"]), "kernels_for", nothing)
            for name in ("nms.nms", "kernels.pooling", "kernels.matching")
        )
    )


WITHOUT: dict[str, Callable[[Step], contextlib.AbstractContextManager[None]]] = {
    "gradient of drawn anchors alone": _all_anchors,
    "head's first layers on the map": _not_lifted,
    "convolutions by matrix products": _no_products,
    "norms folded into convolutions": _norms_apart,
    "own kernels": _no_kernels,
}
"""The step without a means, beside the step with all."""


def measure(
    work: Work, device: torch.device, *, until: float, limit: float
) -> dict[str, Interval]:
    """How many times as long the step takes without each means."""
    step = build_step("ours", work, device)
    calls: dict[str, Callable[[], float]] = {"all": partial(_seconds, step)}
    for name, without in WITHOUT.items():
        calls[name] = partial(_seconds, step, without)
    exact = build_step("ours-float32", work, device)
    calls["bfloat16"] = partial(_seconds, exact)
    for call in calls.values():
        call()
    seconds = time_until(calls, until=until, limit=limit)
    return {
        name: ratio_interval(times, seconds["all"])
        for name, times in seconds.items()
        if name != "all"
    }


def _seconds(step: Step, without: Callable | None = None) -> float:
    with without(step) if without else contextlib.nullcontext():
        started = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="NET")
    parser.add_argument("--phases", nargs="+", default=PHASES, choices=PHASES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, nargs=2, default=(600, 800))
    parser.add_argument("--until", type=float, default=0.05)
    parser.add_argument("--limit", type=float, default=120, help="seconds per case")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


def main() -> None:
    """Measure, print a table."""
    arguments = build_parser().parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    found = {}
    for model in arguments.models:
        for phase in arguments.phases:
            work = Work(model, phase, size=tuple(arguments.size))
            device = torch.device(arguments.device)
            limits = {"until": arguments.until, "limit": arguments.limit}
            found[f"{model} {phase}"] = measure(work, device, **limits)
            for name, (ratio, low, high) in found[f"{model} {phase}"].items():
                text = f"{model:10} {phase:6} without {name:34}"
                print(f"{text} x {ratio:.3f} ({low:.3f} to {high:.3f})", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
