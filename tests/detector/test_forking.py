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

START = """
import multiprocessing, os, sys, threading
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
"""


def run(code):
    """Output of a program; one that hangs is killed."""
    done = subprocess.run(
        [sys.executable, "-c", START.format(helpers=str(HELPERS)) + code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_forked_process_detects_what_its_parent_does():
    parent, *children = run("""
def detect(_=None):
    return detector(image).boxes.tolist()

def in_a_thread():
    thread = threading.Thread(target=detect)
    thread.start()
    thread.join()

before = detect()
in_a_thread()

def child(queue):
    in_a_thread()
    queue.put((torch.get_num_threads(), detect() == before and len(before) > 0))

fork = multiprocessing.get_context("fork")
queue = fork.Queue()
processes = [fork.Process(target=child, args=(queue,), daemon=True) for _ in range(2)]
for process in processes:
    process.start()
found = [queue.get(timeout=30) for _ in processes]
for process in processes:
    process.join(60)
print(detect() == before, torch.get_num_threads())
for process, each in zip(processes, found):
    print(process.exitcode, *each)
""")
    assert parent == "True 2"
    assert children == ["0 1 True", "0 1 True"]


@pytest.mark.parametrize(
    "change", ["detector.model.compile()", "detector.device = gpu"]
)
def test_detectors_that_a_fork_breaks_are_refused_at_once(change):
    (line,) = run(f"""
gpu = torch.device("cuda")
{change}
pid = os.fork()
if pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
try:
    detector(image)
except RuntimeError as error:
    print(error, flush=True)
os._exit(0)
""")
    assert "loaded before a fork" in line and "spawn" in line
