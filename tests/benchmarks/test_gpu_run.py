"""The script for a GPU: one failure hides nothing, and it runs to its end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gpu_run
import pytest
from gpu_run import Job

pytestmark = [pytest.mark.slow, pytest.mark.processes]

STEPS = """
import os, subprocess, sys, time

def good(keep, word):
    print("heard", word)
    keep({"lines": [word]})

def raises(keep):
    keep({"lines": ["one figure"]})
    raise ValueError("no such kernel")

def dies(keep):
    os.kill(os.getpid(), 9)

def finds(keep):
    keep({"faults": ["nms differs", "another"]})

def hangs(keep, file):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    keep({"lines": ["half"], "child": child.pid})
    time.sleep(60)
"""


def test_one_failure_hides_nothing(tmp_path, monkeypatch):
    (tmp_path / "made_up_steps.py").write_text(STEPS)
    monkeypatch.syspath_prepend(tmp_path)
    jobs = [
        Job("first", 9, "good", ("word",)),
        Job("raises", 9, "raises"),
        Job("dies", 9, "dies"),
        Job("finds", 9, "finds"),
        Job("hangs", 0.7, "hangs", (1,)),
        Job("gpu only", 9, "good", ("never",), on_cpu=False),
        Job("unknown", 9, "nothing_like_it"),
        Job("last", 9, "good", ("end",)),
    ]
    found = gpu_run.run(jobs, tmp_path, budget=30, device="cpu", module="made_up_steps")
    statuses = ["ok", *["failed"] * 3, "timed out", "skipped", "failed", "ok"]
    assert [step["status"] for step in found] == statuses
    assert json.loads((tmp_path / "results.json").read_text()) == {"steps": found}
    assert found[1]["lines"] == ["one figure"]
    assert "no such kernel" in found[1]["why"] and "signal 9" in found[2]["why"]
    assert found[4]["lines"] == ["half"]
    child = Path(f"/proc/{found[4]['child']}/stat")  # which ended with it
    assert not child.exists() or ") Z " in child.read_text()
    assert "heard word" in (tmp_path / "first.log").read_text()
    text = gpu_run.report(found)
    assert text.startswith("failed first: raises")
    assert "no such kernel" in text and "## last\n\nend" in text


def test_what_the_budget_does_not_allow_is_cut(tmp_path):
    jobs = [Job(name, 9, "good") for name in ("one", "two")]
    found = gpu_run.run(jobs, tmp_path, budget=5, device="cuda", module="json")
    assert [step["status"] for step in found] == ["cut", "cut"]
    assert "cut, the budget of 5 s was spent" in gpu_run.report(found)


def test_a_step_where_processes_cannot_be_forked(tmp_path, monkeypatch):
    (tmp_path / "spawned_steps.py").write_text(
        "import multiprocessing\n"
        "def told(keep):\n"
        "    assert multiprocessing.get_start_method(True) == 'spawn'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    jobs = [Job("machine", 30, "told")]
    (found,) = gpu_run.run(
        jobs, tmp_path, budget=60, device="cpu", module="spawned_steps"
    )
    assert found["status"] == "ok"


def test_runs_to_its_end_on_a_cpu(tmp_path):
    ran = subprocess.run(
        [
            Path(gpu_run.__file__).with_name("gpu.sh"),
            "--tiny",
            "--device",
            "cpu",
            "--output",
            tmp_path,
        ],
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads((tmp_path / "results.json").read_text())["steps"]
    status = {step["name"]: step["status"] for step in found}
    skipped = {name for name, of in status.items() if of != "ok"}
    assert skipped == {"waits", "graphs"} and len(status) == 8
    report = (tmp_path / "report.md").read_text()
    assert "nothing failed" in report and "roi_pool against its reference" in report
    (row,) = [line for line in report.splitlines() if "train, batch 1 |" in line]
    ours, theirs, times = (float(cell) for cell in row.split("|")[2:5])
    assert times == pytest.approx(ours / theirs, rel=0.02)
