"""Detectors in forked processes, as of gunicorn --preload and multiprocessing."""

import os
import subprocess
import sys

import pytest
from command_lines import HELPERS
from patience import PATIENCE

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]

PROGRAM = """
import multiprocessing, os, sys, threading, time
import torch
sys.path.insert(0, {helpers!r})
from tiny_runs import CLASSES, CPU, tiny_config, tiny_detector
from faster_rcnn import Detector

torch.set_num_threads(2)
config = tiny_config("test.score_threshold", 0.01)
detector = Detector(
    tiny_detector(config), config, CLASSES, device=CPU, dtype=torch.float32
)
image = torch.arange(3 * 640 * 800).reshape(3, 640, 800).to(torch.uint8)

def detect(_=None):
    return detector(image).boxes.tolist()

def in_a_thread():
    thread = threading.Thread(target=detect)
    thread.start()
    thread.join()

before = detect()
in_a_thread()
# What is left of an ended thread still holds MKL's lock for a moment; a process that is
# forked then waits for it forever.
time.sleep(1)

def child(queue):
    in_a_thread()
    queue.put((torch.get_num_threads(), detect() == before and len(before) > 0))

fork = multiprocessing.get_context("fork")
queue = fork.Queue()
processes = [fork.Process(target=child, args=(queue,), daemon=True) for _ in range(2)]
for process in processes:
    process.start()
found = [queue.get(timeout={patience}) for _ in processes]
for process in processes:
    process.join({patience})
print(detect() == before, torch.get_num_threads())
for process, each in zip(processes, found):
    print(process.exitcode, *each)

def print_error_of_a_fork():
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return
    try:
        detector(image)
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)

device = detector.device
detector.device = torch.device("cuda")
print_error_of_a_fork()
detector.device = device
detector.model.compile()
print_error_of_a_fork()
"""


@pytest.fixture(scope="module")
def lines():
    """Output of the program, which is killed if it hangs."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(helpers=str(HELPERS), patience=PATIENCE)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_forked_process_detects_what_its_parent_does(lines):
    parent, *children = lines[:3]
    assert parent == "True 2"
    assert children == ["0 1 True", "0 1 True"]


def test_detectors_that_a_fork_breaks_are_refused_at_once(lines):
    errors = lines[3:]
    assert len(errors) == 2  # on a GPU, and compiled
    for error in errors:
        assert "loaded before a fork" in error and "spawn" in error
