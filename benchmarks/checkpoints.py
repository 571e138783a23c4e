#!/usr/bin/env python3
"""Time the checkpoints of a training run beside a bare torch.save of the same state.

    python benchmarks/checkpoints.py
    python benchmarks/checkpoints.py --net res50 --folder /mnt/shared

The three take turns, each into a new file. A run waits only for the first part of a
periodic checkpoint: the file is flushed to the disk beside the next updates.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from faster_rcnn.config.loading import load_config
from faster_rcnn.engine.solver import build_optimizer
from faster_rcnn.model.build import build_detector
from faster_rcnn.weights.checkpoint import (
    Snapshot,
    begin_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from reporting import markdown


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--net", default="res101")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--folder", type=Path, help="folder on the disk to measure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config([], ["net.name", options.net, "net.weights", "none"])
    model = build_detector(config, 21)
    optimizer = build_optimizer(model, config.train)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    snapshot = Snapshot(model, optimizer, torch.Generator(), 1)
    names = ("__background__", *map(str, range(20)))
    times: dict[str, list[float]] = {}

    def clock(what: str, work: Callable[[], object]) -> None:
        begun = time.perf_counter()
        work()
        times.setdefault(what, []).append(1e3 * (time.perf_counter() - begun))

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bare, whole, parts = (Path(folder, name) for name in ("a", "b", "c"))
        save_checkpoint(whole, snapshot, config, names)
        state, size = load_checkpoint(whole), whole.stat().st_size
        for _ in range(options.rounds):
            clock("a bare torch.save", lambda: torch.save(state, bare))
            clock(
                "a checkpoint, to the disk",
                lambda: save_checkpoint(whole, snapshot, config, names),
            )
            begun = time.perf_counter()
            with begin_checkpoint(parts, snapshot, config, names):
                waited = 1e3 * (time.perf_counter() - begun)
            times.setdefault("what training waits for", []).append(waited)
            for file in (bare, whole, parts):
                file.unlink()
    rows = [
        [what, f"{statistics.median(t):.0f}", f"{min(t):.0f}", f"{max(t):.0f}"]
        for what, t in times.items()
    ]
    print(f"{options.net}, {size / 1e6:.0f} MB, {options.rounds} rounds")
    print(markdown(("ms", "median", "least", "most"), rows))


if __name__ == "__main__":
    main()
