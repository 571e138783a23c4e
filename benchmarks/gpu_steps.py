"""The steps of gpu_run.py; each stores what it found so far, in case it is stopped."""

import gc
import importlib.util
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from faster_rcnn.kernels import library, self_check
from faster_rcnn.utils.device import seed_everything
from kernel_cases import cases
from kernel_inputs import Sizes
from kernels import compare, line
from reporting import machine
from timing import copy_bandwidth
from torch.profiler import ProfilerActivity, profile
from whole_step import peak
from whole_step.intervals import ratio_interval, time_until
from whole_step.models import Work
from whole_step.probe import waits_of
from whole_step.ways import build_step
from whole_step.workers import LocalWorker, Setup

Keep = Callable[[dict[str, Any]], None]

_ROOT = Path(__file__).resolve().parents[1]

_SMALL = (
    *("net.head_stride", "2", "pooling.size", "4", "anchors.scales", "[1,2]"),
    *("rpn.channels", "16", "head.fc_channels", "32", "mask.channels", "16"),
    *("mask.convs", "1", "rpn.train_pre_nms", "50", "rpn.train_post_nms", "20"),
    *("rpn.test_pre_nms", "50", "net.fpn_channels", "16"),
)
_ORDER = ((8, "train"), (8, "infer"), (1, "train"), (1, "infer"), (16, "train"))

_PRODUCTS = re.compile(r"conv|\bmm\b|addmm|bmm|linear|matmul")


def work_of(model: str, phase: str, batch: int, *, tiny: bool) -> Work:
    """Return the work of a case: 800x1333, or as little as possible."""
    if not tiny:
        return Work(model, phase, (800, 1333), batch)
    options: dict[str, Any] = {"classes": 3, "rois": (8, 12), "settings": _SMALL}
    return Work(model, phase, (64, 64), batch, **options)


def measure_machine(keep: Keep, device: str, tiny: bool) -> None:
    """Measure the peaks that the other steps are compared with."""
    where = torch.device(device)
    found: dict[str, Any] = {"machine": machine(where)}
    keep({**found, "lines": [found["machine"]]})
    if tiny:
        with mock.patch.multiple(peak, _CONVS=(), _PRODUCTS=((64, 64, 64),)):
            found["peaks"] = peak.measure_peaks(where, seconds=0)
    else:
        found["peaks"] = peak.measure_peaks(where, seconds=2)
    lines = [
        found["machine"],
        *(
            f"{name}: {rate / 1e12:.4g} TFLOP/s"
            for name, rate in found["peaks"].items()
        ),
    ]
    if device == "cuda":
        found["bandwidth"] = copy_bandwidth(where)
        lines.append(f"copy: {found['bandwidth'] / 1e9:.0f} GB/s, read and written")
    keep({**found, "lines": lines})


def run_tests(keep: Keep, tiny: bool) -> None:
    """Run every test marked gpu, in several processes if pytest-xdist is there."""
    tests = (_ROOT / "tests").rglob("test_*.py")  # few: collecting all takes long
    files = [str(path) for path in tests if "mark.gpu" in path.read_text("utf-8")]
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-rfE", "--tb=short"]
    words += ["--continue-on-collection-errors", *sorted(files)]
    if tiny:
        words += ["-p", "no:xdist", "-k", "test_by_hand or test_on_a_gpu"]
    elif importlib.util.find_spec("xdist"):
        words += ["-n", str(min(8, os.cpu_count() or 1))]
    ran = subprocess.run(
        words,
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(ran.stdout)
    lines = ran.stdout.strip().splitlines()
    failed = [text for text in lines if text.startswith(("FAILED", "ERROR"))]
    faults = []
    if ran.returncode:
        faults = ["\n".join([*failed[:1], *lines[-40:]])]
    keep({"lines": [*failed, lines[-1] if lines else "no output"], "faults": faults})


def find_waits(keep: Keep, model: str, device: str, tiny: bool) -> None:
    """Find where the host waits for the GPU; a training step may do so nowhere."""
    where, lines, faults = torch.device(device), [], []
    for phase, allowed in (("train", False), ("infer", True)):
        step = build_step("ours", work_of(model, phase, 2, tiny=tiny), where)
        for _ in range(3):
            step()
        places = waits_of(step, where) or Counter()
        lines.append(f"{model} {phase}: {places.total()} waits {dict(places) or ''}")
        if places and not allowed:
            faults.append(f"the host waits in a training step: {dict(places)}")
        keep({"lines": lines, "faults": faults})


def compare_kernels(keep: Keep, device: str, tiny: bool) -> None:
    """Check the kernels against readable references, then time torchvision's too."""
    where = torch.device(device)
    found: dict[str, Any] = {"lines": [], "faults": [], "cases": []}
    module = library._module(where.type)
    for name in ("nms", "match_boxes", "roi_pool"):
        fault = (
            "no kernels"
            if module is None
            else self_check.fault_of(name, module, device)
        )
        found["lines"].append(f"{name} against its reference: {fault or 'equal'}")
        found["faults"] += [f"{name}: {fault}"] if fault else []
        keep(found)
    bandwidth = None if device == "cpu" else copy_bandwidth(where)
    sizes = Sizes(5, 6, 8, (40, 20), (30, 10), 4, 6, 3) if tiny else Sizes()
    for case in cases(where, sizes):
        try:
            results = compare(case, where, repeats=1 if tiny else 21)
        except Exception as error:  # the other kernels are of interest too
            found["faults"].append(f"{case.name}: {type(error).__name__}: {error}")
            results = []
        for result in results:
            text = line(result)
            if bandwidth:
                result["share"] = result["least_bytes"] / bandwidth / result["ours"]
                text += f", {result['share']:.0%} of the bandwidth"
            found["lines"].append(text)
        found["cases"] += results
        keep(found)


def measure_model(keep: Keep, model: str, way: str, device: str, tiny: bool) -> None:
    """Measure training and inference with several sizes of batch."""
    found: dict[str, Any] = {"way": way, "cases": [], "lines": [], "faults": []}
    for batch, phase in (
        ((1, "train"), (1, "infer")) if tiny else (*_ORDER, (16, "infer"))
    ):
        name = f"{model}, {phase}, batch {batch}"
        try:
            case = _measured(way, work_of(model, phase, batch, tiny=tiny), device, tiny)
        except Exception as error:  # the other cases are of interest too
            found["faults"].append(f"{name}: {type(error).__name__}: {error}")
        else:
            found["cases"].append({"case": name, **case})
            rate, memory = case["images_per_second"], case["peak_memory"] / 2**30
            found["lines"].append(f"{name}: {rate:.4g} images/s, {memory:.2f} GiB")
        keep(found)


def _measured(way: str, work: Work, device: str, tiny: bool) -> dict[str, Any]:
    _free(device)
    worker = LocalWorker(Setup(way, work, device))
    worker.warm_up(1 if tiny else 3)
    calls = {way: worker.seconds}
    seconds = time_until(calls, until=0.03, limit=3, repeats=1 if tiny else None)[way]
    median = statistics.median(seconds)
    return {
        "seconds": median,
        "images_per_second": work.batch / median,
        "rounds": len(seconds),
        **worker.details(),
    }


def _free(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def compare_graphs(keep: Keep, model: str, device: str, tiny: bool) -> None:
    """Compare updates that are replayed as CUDA graphs with those made one by one."""
    found: dict[str, Any] = {"cases": [], "lines": [], "faults": []}
    for batch in (1, 8):
        work = work_of(model, "train", batch, tiny=tiny)
        workers = {}
        for way in ("ours", "ours-graphed"):
            seed_everything(0)
            workers[way] = LocalWorker(Setup(way, work, device))
            workers[way].warm_up(4)  # the third update is recorded
        calls = {way: worker.seconds for way, worker in workers.items()}
        seconds = time_until(calls, until=0.03, limit=4)
        gain = ratio_interval(seconds["ours"], seconds["ours-graphed"])
        losses = [
            sum(float(loss.detach()) for loss in worker.step().values())
            for worker in workers.values()
        ]
        found["cases"].append({"batch": batch, "seconds": seconds, "losses": losses})
        found["lines"].append(
            f"batch {batch}: replayed {gain.ratio:.2f} times as fast "
            f"({gain.low:.2f} to {gain.high:.2f}), losses {losses[0]:.4f}, "
            f"{losses[1]:.4f}"
        )
        if not abs(losses[0] - losses[1]) <= 0.1 * abs(losses[0]):  # other samples
            found["faults"].append(f"batch {batch}: losses differ: {losses}")
        keep(found)
        del workers, calls
        _free(device)


def list_operators(keep: Keep, model: str, device: str, tiny: bool) -> None:
    """List the time of a step by operator; convolutions and products should lead."""
    found: dict[str, Any] = {"cases": [], "lines": [], "faults": []}
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if device == "cuda" else []
    key = f"self_{device}_time_total".replace("cuda", "device")
    for phase in ("train", "infer"):
        batch = 1 if tiny else 8
        step = build_step(
            "ours", work_of(model, phase, batch, tiny=tiny), torch.device(device)
        )
        for _ in range(1 if tiny else 3):
            step()
        with profile(activities=activities) as profiled:
            step()
        times: Counter[str] = Counter()
        for event in profiled.key_averages():
            if str(event.device_type).endswith("CPU"):  # operators, not their kernels
                times[event.key] += getattr(event, key)
        total = times.total() or 1.0
        products = sum(t for name, t in times.items() if _PRODUCTS.search(name))
        found["cases"].append({"phase": phase, "operators": times.most_common(25)})
        found["lines"].append(
            f"{model} {phase}, batch {batch}: {total / 1000:.4g} ms, convolutions and "
            f"products {products / total:.0%}"
        )
        found["lines"] += [f"- {n}: {t / total:.1%}" for n, t in times.most_common(12)]
        keep(found)
        del step
        _free(device)
