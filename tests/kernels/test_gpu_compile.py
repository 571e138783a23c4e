"""Triton's compiler takes every GPU kernel, for each generation of GPUs."""

import os
import re
import subprocess
import sys

import pytest
from command_lines import HELPERS

pytestmark = pytest.mark.processes


def test_compiles_ahead(tmp_path):
    triton = pytest.importorskip("triton")
    # Until 3.4, Triton links for AMD by a program of ROCm.
    old = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 5)
    # In a process of its own: where Triton interprets, it does not compile.
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    script = HELPERS / "compile_ahead.py"
    ran = subprocess.run(
        [sys.executable, script, "90", "80" if old else "gfx942"],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    fused = {
        line.split(":")[0]: int(re.findall(r"(\d+) fused", line)[0]) for line in lines
    }
    assert len(fused) == len(lines) >= 19 + 10
    # A fused multiply-add that nobody asked for would move overlaps and bins.
    exact = ("score_keys", "gather", "resolve", "meet_objects", "mark_best", "touched")
    for name, count in fused.items():
        kernel = name.split()[1]
        if kernel.startswith(exact) or " pool " in name or "divide=True" in name:
            assert count == 0, name
