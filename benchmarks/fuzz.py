#!/usr/bin/env python3
"""Read thousands of damaged and crafted files; each must load or raise a clear error.

    python benchmarks/fuzz.py --cases 2000
    python benchmarks/fuzz.py --only 1234        # one case, in this process

Each case (fuzz_cases.py) is a function of its number. Cases are read in separate
processes with a limit of additional memory and of seconds per case. Any result other
than success or an error for users (CheckpointError, ConfigError, ImageError,
ValueError) is a fault, and makes the exit status 1.
"""

import argparse
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import IO, NamedTuple

import torch
from faster_rcnn.cli.parser import Parser
from faster_rcnn.config.loading import ConfigError, load_config
from faster_rcnn.datasets.loading.images import ImageError, image_size, read_image
from faster_rcnn.model.build import build_detector
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.recognition import import_weights
from faster_rcnn.weights.zoo import open_checkpoint
from fuzz_cases import FuzzCase, make_case

REFUSALS = (CheckpointError, ConfigError, ImageError)
MEMORY = 1 << 30  # bytes beyond those at the start
SECONDS = 30.0
LONGEST_MESSAGE = 4000


class Outcome(NamedTuple):
    """The outcome of a case.

    Attributes:
        number: number of the case.
        kind: kind of the file; "" if unknown.
        result: "read", the name of an error, "died" or "hung".
        sound: whether this outcome is allowed.
        peak: peak memory of the process so far, in MiB above the start.
    """

    number: int
    kind: str
    result: str
    sound: bool
    peak: int = 0


def read_case(case: FuzzCase, folder: Path) -> None:
    """Read a file as the programs read files of its kind."""
    path = folder / case.name
    path.write_bytes(case.data)
    if case.kind == "checkpoint":
        open_checkpoint(path)
        import_weights(path)
    elif case.kind == "weights":
        import_weights(path)
    elif case.kind == "config":
        config = load_config([path])
        with torch.device("meta"):
            build_detector(config, 21)
    else:
        height, width = read_image(path).shape[:2]
        if image_size(path) != (width, height):
            raise ImageError(f"{path}: two sizes")


def judge(case: FuzzCase, folder: Path) -> tuple[str, bool]:
    """Read a case, and return its outcome."""
    try:
        read_case(case, folder)
    except Exception as error:
        clear = isinstance(error, REFUSALS) or type(error) is ValueError
        short = len(str(error)) <= LONGEST_MESSAGE and bool(str(error))
        if not (clear and short):
            traceback.print_exc()
        return type(error).__name__, clear and short
    return "read", True


def work(first: int, last: int) -> None:
    """Read cases one after the other, and print their outcomes."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        judge(make_case(first), Path(folder))  # imports and caches come first
        size = int(Path("/proc/self/statm").read_text().split()[0])
        limit = size * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        for number in range(first, last):
            case = make_case(number)
            result, sound = judge(case, Path(folder))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            facts = f"{case.kind} {result} {int(sound)} {peak - start}"
            print(f"#{number} {facts}", flush=True)


def run(first: int, last: int) -> list[Outcome]:
    """Read cases in other processes, replacing each that dies or hangs."""
    outcomes: list[Outcome] = []
    while first < last:
        command = [sys.executable, __file__, "--work", str(first), str(last)]
        settings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=settings
        ) as process:
            assert process.stdout is not None
            lines: queue.Queue[str | None] = queue.Queue()
            reader = threading.Thread(target=_pass_on, args=(process.stdout, lines))
            reader.start()
            patience = 4 * SECONDS  # imports come first
            hung = False
            while first < last:
                try:
                    line = lines.get(timeout=patience)
                except queue.Empty:
                    hung = True
                    break
                if line is None:
                    break
                if line.startswith("#"):
                    number, kind, result, sound, size = line[1:].split()
                    outcomes.append(
                        Outcome(int(number), kind, result, sound == "1", int(size))
                    )
                    first, patience = int(number) + 1, SECONDS
            process.kill()
            reader.join()
        if first < last:
            outcomes.append(Outcome(first, "", "hung" if hung else "died", False))
            first += 1
    return outcomes


def _pass_on(stream: IO[str], lines: "queue.Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def table(outcomes: list[Outcome]) -> str:
    """Count the outcomes of each kind."""
    counts = Counter((outcome.kind or "?", outcome.result) for outcome in outcomes)
    kinds = sorted({kind for kind, _ in counts})
    results = sorted({result for _, result in counts})
    rows = [["", *kinds]]
    rows += [[r, *(str(counts[kind, r]) for kind in kinds)] for r in results]
    return "\n".join("  ".join(cell.rjust(16) for cell in row) for row in rows)


def main() -> None:
    """Read all cases, or one."""
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument(
        "--only", type=int, metavar="N", help="read only case N, in this process"
    )
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(*arguments.work)
        return
    if arguments.only is not None:
        case = make_case(arguments.only)
        print(case.kind, case.name, len(case.data), "bytes")
        with tempfile.TemporaryDirectory() as folder:
            read_case(case, Path(folder))
        return
    started = time.monotonic()
    outcomes = run(arguments.first, arguments.first + arguments.cases)
    print(table(outcomes))
    seconds = time.monotonic() - started
    most = max(outcomes, key=lambda outcome: outcome.peak)
    print(
        f"{len(outcomes)} cases in {seconds:.0f} s, at most {most.peak} MiB more than "
        f"at the start (case {most.number})"
    )
    faults = [outcome for outcome in outcomes if not outcome.sound]
    for outcome in faults:
        print(f"fault: case {outcome.number}: {outcome.kind} {outcome.result}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
