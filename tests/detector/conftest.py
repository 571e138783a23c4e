from pathlib import Path

import pytest
from faster_rcnn import Detector
from tiny_checkpoints import save_tiny
from tiny_runs import tiny_config


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    config = tiny_config("test.score_threshold", 0.05)
    return save_tiny(folder / "iter_0000004.pth", config)


@pytest.fixture(scope="session")
def detector(checkpoint) -> Detector:
    return Detector.from_checkpoint(checkpoint, device="cpu")
