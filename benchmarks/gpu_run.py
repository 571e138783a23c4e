#!/usr/bin/env python3
"""Check and measure everything that needs a GPU, in a few minutes; see gpu.sh.

Each step runs in its own process with its own time limit, so that one failure hides
nothing of the rest. Steps are ordered by worth; when the budget is spent, the remaining
ones are cut, and the table says so. After every step ``results.json`` is complete.
"""

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

_LEAST = 8.0
"""Seconds without which a step is not started."""

_SPARE = 3.0
"""Seconds of the budget that are kept for the report."""

Result = dict[str, Any]
"""What a step found: its ``lines`` of text, its ``faults``, and figures as JSON."""

Keep = Callable[[Result], None]


class Job(NamedTuple):
    """A step.

    Attributes:
        name: its name in the table.
        limit: seconds that it may take.
        call: name of a function in ``gpu_steps``, called with `Keep`, which stores what
            was found so far, and `arguments`.
        arguments: further arguments.
        on_cpu: whether it can run without a GPU.
    """

    name: str
    limit: float
    call: str
    arguments: tuple[Any, ...] = ()
    on_cpu: bool = True


def run(
    jobs: Sequence[Job],
    folder: Path,
    *,
    budget: float,
    device: str,
    module: str = "gpu_steps",
    clock: Callable[[], float] = time.monotonic,
) -> list[Result]:
    """Run all steps, and store what they found in ``folder/results.json``.

    The first step says whether processes can be forked after the imports, which saves
    each step their seconds; if it fails, it is tried again in a new interpreter, and so
    are the others.

    Args:
        jobs: the steps, most important first.
        folder: folder for the results and a log of each step.
        budget: seconds for all steps.
        device: ``cpu`` or ``cuda``.
        module: module with the functions of the steps.
        clock: seconds.

    Returns:
        For each step ``name``, ``status`` (ok, failed, timed out, skipped, cut),
        ``seconds``, ``why`` and what it found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start, how = clock(), "fork"
    with contextlib.suppress(Exception):  # each step will say so
        importlib.import_module(module)
    results: list[Result] = []
    for job in jobs:
        left = budget - _SPARE - (clock() - start)
        if device == "cpu" and not job.on_cpu:
            found: Result = {"status": "skipped", "why": "needs a GPU"}
        elif left < _LEAST:
            found = {"status": "cut", "why": f"the budget of {budget:.0f} s was spent"}
        else:
            limit = min(job.limit, left)
            found = _run(job, folder, limit, module, how)
            if not results and found["status"] == "failed":
                how = "spawn"
                found = _run(job, folder, limit, module, how)
        results.append({"name": job.name, **found})
        print(line(results[-1]), flush=True)
        text = json.dumps({"steps": results}, indent=1)
        (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    return results


def _run(job: Job, folder: Path, limit: float, module: str, how: str) -> Result:
    file = folder / f"{job.name.replace(' ', '_')}.json"
    log = file.with_suffix(".log")
    file.unlink(missing_ok=True)
    process = multiprocessing.get_context(how).Process(
        target=_serve, args=(module, job, file, log)
    )
    started = time.monotonic()
    process.start()
    process.join(limit)
    late = process.is_alive()
    # Its own processes too: it leads a group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    found: Result = {"status": "ok", "seconds": round(time.monotonic() - started, 1)}
    if file.is_file():
        found |= json.loads(file.read_text(encoding="utf-8"))
    faults = found.get("faults", [])
    if late:
        found |= {"status": "timed out", "why": f"took over {limit:.3g} s"}
    elif process.exitcode:
        found |= {"status": "failed", "why": _tail(log, process.exitcode)}
    elif faults:
        found |= {"status": "failed", "why": faults[0]}
    return found


def _serve(module: str, job: Job, file: Path, log: Path) -> None:
    """Run a step in this process, with its output in a log."""
    os.setsid()
    code = 1
    with open(log, "w", encoding="utf-8") as stream:
        sys.stdout = sys.stderr = stream
        os.dup2(stream.fileno(), 1)  # what its processes and C code print
        os.dup2(stream.fileno(), 2)
        try:
            call = getattr(importlib.import_module(module), job.call)
            call(partial(_keep, file), *job.arguments)
            code = 0
        except BaseException:
            traceback.print_exc()
    os._exit(code)  # a forked process has the handlers of the first one


def _keep(file: Path, found: Result) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps(found), encoding="utf-8")
    part.replace(file)


def _tail(log: Path, code: int) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    ended = f"signal {-code}" if code < 0 else f"code {code}"
    return f"ended with {ended}\n{text[-3000:]}".strip()


def line(found: Result) -> str:
    """Format the status of a step in one line."""
    why = [text for text in found.get("why", "").strip().splitlines() if text.strip()]
    words = [f"{found['name']}: {found['status']}"]
    words += [f"{found['seconds']} s"] if "seconds" in found else []
    return ", ".join(words + why[-1:])


def report(results: Sequence[Result]) -> str:
    """Format what failed first, all statuses, and the text of each step."""
    bad = [found for found in results if found["status"] in ("failed", "timed out")]
    first = "nothing failed"
    if bad:
        first = f"failed first: {bad[0]['name']}\n\n```\n{bad[0]['why']}\n```"
    statuses = "\n".join(f"- {line(found)}" for found in results)
    parts = [first, statuses]
    for found in results:
        if found.get("lines"):
            parts.append(f"## {found['name']}\n\n" + "\n".join(found["lines"]))
    return "\n\n".join(parts) + "\n"


def jobs(device: str, *, tiny: bool) -> list[Job]:
    """List the steps, most important first."""
    models = ["res50_fpn", "res50", "mask_res50_fpn", "res101_fpn"]
    first, *others = ["mask_mobile_v2_fpn"] if tiny else models

    def steps_of(model: str) -> list[Job]:
        ways = ("ours", "torchvision-bf16")
        given = [(f"{model} {way}", (model, way, device, tiny)) for way in ways]
        return [Job(name, 60, "measure_model", arguments) for name, arguments in given]

    one = (first, device, tiny)
    return [
        Job("machine", 40, "measure_machine", (device, tiny)),
        Job("tests", 130, "run_tests", (tiny,)),
        Job("waits", 45, "find_waits", one, on_cpu=False),
        Job("kernels", 60, "compare_kernels", (device, tiny)),
        *steps_of(first),
        Job("graphs", 40, "compare_graphs", one, on_cpu=False),
        Job("operators", 30, "list_operators", one),
        *(job for model in others for job in steps_of(model)),
    ]


def comparison(results: Sequence[Result]) -> str:
    """Format our steps beside torchvision's, as far as both were measured."""
    peaks: dict[str, float] = next((r["peaks"] for r in results if "peaks" in r), {})
    ways: dict[str, dict[str, Result]] = {"ours": {}, "torchvision-bf16": {}}
    for found in results:
        for case in found.get("cases", ()):
            if "images_per_second" in case:
                ways[found["way"]][case["case"]] = case
    ours, theirs = ways.values()
    header = ["bfloat16", "images/s: ours", "torchvision", "times", "GiB: ours"]
    header += ["torchvision", "share of the peak: ours", "torchvision", "waits: ours"]
    rows = [header, ["---"] + ["--:"] * (len(header) - 1)]
    for name, mine in ours.items():
        other = theirs.get(name, {})
        rate, rival = mine["images_per_second"], other.get("images_per_second")
        rows.append(
            [
                name,
                f"{rate:.4g}",
                f"{rival:.4g}" if rival else "",
                f"{rate / rival:.2f}" if rival else "",
                *(
                    f"{x['peak_memory'] / 2**30:.2f}" if x else ""
                    for x in (mine, other)
                ),
                *(_share(x, peaks) if x else "" for x in (mine, other)),
                "" if mine["waits"] is None else str(mine["waits"]),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\n"


def _share(case: Result, peaks: dict[str, float]) -> str:
    peak = peaks.get(case["dtype"])
    return f"{case['flops'] / case['seconds'] / peak:.0%}" if peak else ""


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--tiny", action="store_true", help="tiny sizes, to try the script itself")
    add("--budget", type=float, default=460, help="seconds for all steps")
    add("--output", type=Path, default=Path("output/gpu"), help="folder of the report")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run the steps of the command line; return 1 if one failed."""
    arguments = build_parser().parse_args(words)
    device, folder = arguments.device, arguments.output
    results = run(
        jobs(device, tiny=arguments.tiny),
        folder,
        budget=arguments.budget,
        device=device,
    )
    text = comparison(results) + report(results)
    (folder / "report.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten: {folder}/report.md, results.json", flush=True)
    return int(any(r["status"] in ("failed", "timed out") for r in results))


if __name__ == "__main__":
    raise SystemExit(main())
