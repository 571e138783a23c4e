#!/usr/bin/env python3
"""Compare the time of whole training and inference steps with other programs.

All implementations have the same network, weights, images and counts (see
whole_step/models.py). Each runs in its own process, and they take turns until the 95 %
interval of each ratio is narrow enough or the time limit is reached:

    python benchmarks/step.py --models res50 res50_fpn --threads 2 --json step.json

torchvision's detector runs with its defaults (float32, contiguous) and, as
``torchvision-bf16``, in bfloat16 and channels_last, which favour it. mmdet and
detectron2 run if they are installed. ``ours`` runs as train.sh and test.sh do.
RetinaNet is retina_res50_fpn; torchvision has no Cascade R-CNN, so cascade_res50_fpn
runs with ``--ways ours,detectron2``.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from faster_rcnn.cli.arguments.shared import net_argument
from faster_rcnn.cli.parser import Parser
from faster_rcnn.cli.user_errors import clear_errors
from reporting import DOCS, machine, write_between
from whole_step.measure import measure
from whole_step.models import MODELS, Work
from whole_step.peak import measure_peaks
from whole_step.report import draw, report, times_table
from whole_step.ways import WAYS


def _pair(text: str) -> tuple[int, int]:
    for sign in "x/":
        first, found, second = text.partition(sign)
        if found and first.isdigit() and second.isdigit():
            return int(first), int(second)
    raise argparse.ArgumentTypeError(f"expected two numbers as in 600x800, not {text}")


def _ways(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in WAYS:
            raise argparse.ArgumentTypeError(
                f"expected some of {','.join(WAYS)}; found {name!r}"
            )
    return names


def _phases(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= {"train", "infer"}:
        raise argparse.ArgumentTypeError(f"expected train, infer or both; not {text}")
    return names


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that all measurements of steps share."""
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--threads", type=int, default=0, help="PyTorch's threads; default: its choice")
    add("--limit", type=float, default=300, help="maximum seconds of rounds per case")
    add("--repeats", type=int, help="rounds; default: until --until is met")
    add("--json", type=Path, help="file for all figures, written after each case")
    add("--plot", type=Path, help="file for the plot")
    add(
        "--markdown",
        nargs="?",
        const=DOCS / "performance.md",
        type=Path,
        help="write the tables between the marks of this document",
    )
    add("--mark", default="step", help="name of the marks")
    add(
        "--set",
        nargs="*",
        default=[],
        dest="settings",
        metavar="KEY VALUE",
        help="SECTION.KEY value pairs, for all implementations",
    )


def save(document: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Write all figures measured so far to the file of ``--json``."""
    if arguments.json:
        text = json.dumps(document, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")


def publish(
    document: dict[str, Any],
    arguments: argparse.Namespace,
    tables: str,
    draw: Callable[[dict[str, Any], Path], None],
) -> None:
    """Print the tables; write the files of ``--plot`` and ``--markdown``."""
    print(f"\n{tables}")
    if arguments.plot:
        draw(document, arguments.plot)
    if arguments.markdown:
        write_between(arguments.markdown, arguments.mark, tables)


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", nargs="+", type=net_argument, default=list(MODELS), metavar="NET")
    add("--batch", type=int, nargs="+", default=[1], help="images per step")
    add("--size", type=_pair, nargs="+", default=[(600, 800)], metavar="HxW")
    add(
        "--rois",
        type=_pair,
        metavar="TRAIN/TEST",
        help="RoIs per image in training, proposals in tests; "
        "default: 128/300, with a pyramid 512/1000",
    )
    add("--classes", type=int, default=80, help="without background")
    add(
        "--ways",
        type=_ways,
        default=["ours", "torchvision", "torchvision-bf16"],
        help=f"implementations, separated by commas, of {','.join(WAYS)}; all are "
        "compared with the first",
    )
    add("--phases", type=_phases, default=["train", "infer"], help="train,infer")
    add(
        "--until",
        type=float,
        default=0.05,
        help="largest relative width of a ratio's 95 %% interval",
    )
    add(
        "--keep-memory",
        choices=("ours", "all", "none"),
        default="ours",
        help="implementations whose C library keeps freed memory, as our tools do",
    )
    add(
        "--cpu-time",
        action="store_true",
        help="measure CPU time of the process instead of wall-clock time, on a machine "
        "that is busy with other work",
    )
    add_run_arguments(parser)
    return parser


def main() -> None:
    """Measure, print, and write the requested files."""
    arguments = build_parser().parse_args()
    device = torch.device(arguments.device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with clear_errors():
        works = [
            Work(
                model=model,
                phase=phase,
                size=size,
                batch=batch,
                rois=arguments.rois,
                classes=arguments.classes,
                settings=tuple(arguments.settings),
            )
            for model in arguments.models
            for size in arguments.size
            for batch in arguments.batch
            for phase in arguments.phases
        ]
        for work in works:
            work.config()  # a wrong setting is told before anything runs
        document: dict[str, Any] = {
            "machine": machine(device),
            "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
            "command": " ".join(sys.argv[1:]),
            "peaks": measure_peaks(device),
            "results": [],
        }
        for work in works:
            result = measure(
                work,
                arguments.ways,
                device=arguments.device,
                threads=arguments.threads,
                keep_memory=arguments.keep_memory,
                until=arguments.until,
                limit=arguments.limit,
                repeats=arguments.repeats,
                cpu_time=arguments.cpu_time,
                peaks=document["peaks"],
            )
            document["results"].append(result)
            print(times_table([result]), flush=True)
            save(document, arguments)
        publish(document, arguments, report(document), draw)


if __name__ == "__main__":
    main()
