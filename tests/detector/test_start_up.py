import subprocess
import sys

import pytest
import torch._dynamo  # noqa: F401  so that the name is known to exist
from command_lines import HELPERS

pytestmark = pytest.mark.processes

CODE = """
import sys
from pathlib import Path

from faster_rcnn.detector import Detector
from tiny_runs import checkpoint_names, draw_dataset, tiny_config, train_tiny

folder = Path(sys.argv[1])
dataset = draw_dataset(folder / "images", 2)
train_tiny(dataset, tiny_config("train.iterations", 2), folder / "run")
assert checkpoint_names(folder / "run") == ["iter_0000002.pth"]
Detector.from_checkpoint(folder / "run")(dataset.records[0].path)
slow = {"torch._dynamo", "torchvision", "sympy", "torch.utils.flop_counter"}
print(*sorted(slow & sys.modules.keys()))
"""


def test_training_and_detecting_import_nothing_slow(tmp_path):
    # The compiler alone takes two seconds, and many calls of PyTorch import it.
    found = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        cwd=HELPERS,
    )
    assert found.stdout.splitlines()[-1:] == [""]
