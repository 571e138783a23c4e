"""Threads beside other programs: how many, and when they are measured."""

import os
import subprocess
import sys

import pytest
import torch
from faster_rcnn.utils import shared_cores
from faster_rcnn.utils.shared_cores import CoreShare, Usage


@pytest.fixture
def threads(monkeypatch):
    """The numbers of threads that were set, in order."""
    numbers = []
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    return numbers


def share_of(monkeypatch, others, *, most=2, cores=2):
    """A share that measures, every three seconds, what others use of the cores."""
    usages = [Usage(0.0, 0.0, 0.0)]
    for used in others:
        clock, total, own = usages[-1]
        # What this process itself uses changes nothing.
        usages.append(Usage(clock + 3, total + 3 * (used + 0.7), own + 3 * 0.7))
    left = iter(usages)
    now = [0.0]

    def measure():
        usage = next(left)
        now[0] = usage.clock + 3
        return usage

    monkeypatch.setattr(shared_cores.time, "monotonic", lambda: now[0])
    return CoreShare(most, cores, measure)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([0.0, 0.1, 0.3], []),  # a daemon
        ([0.5, 1.0, 1.0], [1]),  # a busy program, first beside two spinning threads
        ([2.0, 2.0], [1]),
        ([1.0, 0.3, 0.3, 0.3], [1]),  # not free enough
        ([1.0, 0.1, 0.5, 0.1, 0.1, 0.0], [1, 2]),  # free twice in a row
    ],
)
def test_threads_beside_others_on_two_cores(monkeypatch, threads, others, expected):
    share = share_of(monkeypatch, others)
    for _ in others:
        share.adapt()
    assert threads == expected


def test_threads_beside_others_on_many_cores(monkeypatch, threads):
    others = [5.0, 0.0, 0.0, 0.0]
    share = share_of(monkeypatch, others, most=8, cores=16)
    for _ in others:
        share.adapt()
    assert threads == []  # eleven of sixteen are free for eight threads
    share = share_of(monkeypatch, [10.5, 6.0, 6.0], most=16, cores=16)
    for _ in range(3):
        share.adapt()
    assert threads == [5, 10]


def test_measured_only_every_few_seconds(monkeypatch, threads):
    share = share_of(monkeypatch, [1.0])
    monkeypatch.setattr(shared_cores.time, "monotonic", lambda: 1.9)
    share.adapt()
    assert threads == []
    monkeypatch.setattr(shared_cores.time, "monotonic", lambda: 2.1)
    share.adapt()
    assert threads == [1]


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "RANK"])
def test_a_number_that_is_given_stays(monkeypatch, name):
    for known in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(known, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(shared_cores, "_share", None)
    monkeypatch.setenv(name, "1")
    if name == "RANK":
        monkeypatch.setenv("WORLD_SIZE", "2")
    shared_cores.share_cores()
    assert shared_cores._share is None


@pytest.mark.skipif(not shared_cores._STAT.exists(), reason="no /proc/stat")
def test_usage_of_this_system():
    cores = os.sched_getaffinity(0)
    before = shared_cores._usage(cores)
    busy = "import time\nwhile time.process_time() < 0.4: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    after = shared_cores._usage(cores)
    elapsed = after.clock - before.clock
    assert 0.3 <= after.own - before.own <= elapsed * len(cores) + 0.1
    assert after.own - before.own <= after.all - before.all + 0.1
    assert after.all - before.all <= elapsed * len(cores) + 0.1
