"""Measure memory, stages, FLOPs and waits of a step."""

import gc
import re
import resource
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from faster_rcnn.engine import costs
from faster_rcnn.utils.monitoring.stage_clock import StageClock
from torch.utils.flop_counter import FlopCounterMode

from .call import Step

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def seconds_of(step: Step, device: torch.device, *, cpu_time: bool = False) -> float:
    """Return the wall-clock time of a step, until the device has finished it.

    With ``cpu_time``, return the CPU time of all threads of the process.
    """
    clock = time.process_time if cpu_time else time.perf_counter
    _wait(device)
    started = clock()
    step()
    _wait(device)
    return clock() - started


def reset_peak(device: torch.device) -> None:
    """Measure the peak memory from now on."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR.is_file():
        _CLEAR.write_text("5")  # the resident peak: proc(5)


def peak_memory(device: torch.device) -> int:
    """Return peak bytes: allocated on a GPU, otherwise resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.is_file():
        found = re.search(r"^VmHWM:\s*(\d+) kB", _STATUS.read_text(), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def stages_of(
    step: Step, device: torch.device, *, repeats: int = 2
) -> dict[str, float]:
    """Return mean seconds by stage; ``the rest`` belongs to no stage."""
    clock = StageClock(device)
    with step.timed_by(clock.stage):
        clock.start()
        for _ in range(repeats):
            step()
        clock.stop(repeats)
    rest = clock.total - sum(clock.seconds.values())
    return {**clock.seconds, "the rest": rest}


def flops_of(step: Step) -> int:
    """Count FLOPs of convolutions and matrix products, backward pass included."""
    formulas: Any = costs._FORMULAS
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        step()
    return int(counter.get_total_flops())


def waits_of(step: Step, device: torch.device) -> Counter[str] | None:
    """Count how often the host waits for the device in a step, by ``file:line``.

    None on a CPU.
    """
    if device.type != "cuda":
        return None
    _wait(device)
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return Counter(
        f"{Path(warning.filename).name}:{warning.lineno}"
        for warning in caught
        if "synchroniz" in str(warning.message)
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
