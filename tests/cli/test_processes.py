"""Tools that become several processes."""

import argparse
import functools
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from faster_rcnn.cli import processes
from faster_rcnn.cli.arguments.shared import add_process_arguments
from faster_rcnn.cli.processes import join_processes
from faster_rcnn.utils.distributed.launch import launch
from faster_rcnn.utils.monitoring.logs import setup_logging
from many_processes import start_process
from patience import PATIENCE

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def parse(*words, sharing=False):
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="auto")
    add_process_arguments(parser, sharing=sharing)
    return parser.parse_args(list(words))


parse_sharing = functools.partial(parse, sharing=True)


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def launched(monkeypatch):
    """Calls of `launch`, which does nothing."""
    calls = []
    monkeypatch.setattr(processes, "launch", lambda *a: calls.append(a) or 7)
    return calls


@pytest.mark.parametrize("words", [(), ("--gpus", "1"), ("--device", "cpu")])
def test_one_process_is_this_one(launched, words):
    join_processes(parse(*words))
    assert launched == [] and not torch.distributed.is_initialized()


def test_several_processes_are_started(launched, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tools/a.py", "voc", "--gpus", "2"])
    with pytest.raises(SystemExit) as caught:
        join_processes(parse("--gpus", "2", "--device", "cpu"))
    assert caught.value.code == 7
    assert launched == [(2, [str(Path("tools/a.py").resolve()), "voc", "--gpus", "2"])]


def test_too_few_gpus(launched, monkeypatch):
    with pytest.raises(ValueError, match="no GPU; add --device cpu for 2 processes"):
        join_processes(parse("--gpus", "2"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(ValueError, match="--gpus 8, but this machine has 4"):
        join_processes(parse("--gpus", "8"))
    with pytest.raises(SystemExit):
        join_processes(parse("--gpus", "4"))
    assert [count for count, _ in launched] == [4]


def test_other_number_than_was_started(monkeypatch):
    for name, value in zip(LAUNCHER, "0424", strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="--gpus 2, but 4 processes were started"):
        join_processes(parse("--gpus", "2", "--device", "cpu"))


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_faulty_number(capsys, number):
    with pytest.raises(SystemExit):
        parse(f"--gpus={number}")
    assert f"a whole number of 1 or more, found '{number}'" in capsys.readouterr().err


# The launcher itself, with a script that needs no PyTorch.

SCRIPT = """
import os, signal, sys, time
rank, folder, what = int(os.environ["RANK"]), sys.argv[1], sys.argv[2]
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
open(f"{folder}/{rank}", "w").write(os.environ["WORLD_SIZE"] + sys.argv[3])
if rank == 1 and what == "fail":
    sys.exit(2)
if rank == 1 and what == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if what != "pass":
    time.sleep(60)
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path / "script.py"


def launch_script(script, what):
    """Launch it twice, and note in a file what is written to stderr."""
    errors = os.open(script.with_name("errors"), os.O_WRONLY | os.O_CREAT)
    os.dup2(errors, 2)
    setup_logging()
    sys.exit(launch(2, [str(script), str(script.parent), what, "a b*"]))


@pytest.mark.processes
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("what", "status", "text"),
    [
        ("fail", 2, ""),  # the process has told of it
        ("kill", 1, "process 1 of 2 was ended by SIGKILL; the same command resumes"),
        ("interrupt", 130, ""),
        ("pass", 0, ""),
    ],
)
def test_launcher_ends_as_its_processes_did(script, what, status, text):
    running = start_process(launch_script, script, what)  # since signals come to that
    files = [script.parent / name for name in "01"]
    ended = False  # asked before the files, which are written before the end
    while not all(file.exists() and file.read_text() for file in files):
        assert not ended
        ended = not running.is_alive()
        time.sleep(0.02)
    if what == "interrupt":
        os.kill(running.pid, signal.SIGINT)
    running.join(PATIENCE)
    errors = script.with_name("errors").read_text()
    assert running.exitcode == status, errors
    assert [file.read_text() for file in files] == ["2a b*"] * 2
    assert text in errors and len(errors.splitlines()) == bool(text), errors


def test_processes_that_share_the_cpu(launched):
    with pytest.raises(SystemExit):
        join_processes(parse_sharing("--procs-per-gpu", "3", "--device", "cpu"))
    words = ("--gpus", "2", "--procs-per-gpu", "2", "--device", "cpu")
    with pytest.raises(SystemExit):
        join_processes(parse_sharing(*words))
    assert [count for count, _ in launched] == [3, 4]
    join_processes(parse_sharing("--procs-per-gpu", "1"))
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(("there", "seen"), [(None, "0,1"), ("3,5,7", "3,5")])
def test_processes_that_share_gpus_see_those_only(launched, monkeypatch, there, seen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if there is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", there)
    with pytest.raises(SystemExit):
        join_processes(parse_sharing("--gpus", "2", "--procs-per-gpu", "4"))
    assert [count for count, _ in launched] == [8]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


def test_sharing_is_for_tests(capsys):
    with pytest.raises(SystemExit):
        parse("--procs-per-gpu", "2")
    assert "unrecognized arguments: --procs-per-gpu" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse_sharing("--procs-per-gpu", "0")
    with pytest.raises(ValueError, match="--gpus 1, but this machine has no GPU"):
        join_processes(parse_sharing("--procs-per-gpu", "2"))


def test_sharing_and_a_launcher(monkeypatch):
    for name, value in zip(LAUNCHER, "0424", strict=True):
        monkeypatch.setenv(name, value)
    words = ("--gpus", "1", "--procs-per-gpu", "2", "--device", "cpu")
    with pytest.raises(ValueError, match="--gpus 1 with 2 processes each, but 4"):
        join_processes(parse_sharing(*words))
