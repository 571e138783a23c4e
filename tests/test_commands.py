"""The commands of a first hour, one after the other, on a few drawn images."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from faster_rcnn.cli.main import main
from faster_rcnn.datasets import shapes
from many_processes import start_program
from patience import PATIENCE

pytestmark = pytest.mark.processes

SETTINGS = """
data.short_sides [64]  data.long_side 96  data.test_short_side 64
data.test_long_side 96  data.workers 1  train.batch_size 2  train.snapshot_every 3
train.log_every 1  train.picture_every 0  train.histogram_every 0  test.pictures 1
rpn.test_post_nms 50  rpn.train_post_nms 100  head.rois_per_image 16
head.fc_channels 64  net.fpn_channels 32
"""


class Commands:
    """Calls of ``frcnn`` in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: object) -> str:
        """Standard output and log of a call in this process that has to succeed."""
        said = io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            patch.chdir(self.folder)
            main(list(map(str, words)))
        return said.getvalue()

    def start(self, *words: object) -> str:
        """Standard output and log of a process that has to succeed."""
        files = self.folder / "output.txt", self.folder / "errors.txt"
        process = start_program(
            ["-m", "faster_rcnn.cli", *words],
            output=files[0],
            errors=files[1],
            folder=self.folder,
        )
        process.join(PATIENCE)
        said = "".join(file.read_text() for file in files)
        assert process.exitcode == 0, said
        return said

    def training(self, net: str, iterations: int, *words: object) -> list[object]:
        command = ("train", "drawn", net, "--tag", "run", "--iters", iterations)
        settings = ("--set", "net.weights", "none", *SETTINGS.split())
        return [*command, *words, *settings]

    def run(self, net: str) -> Path:
        return self.folder / "output" / net / "drawn_train" / "run"

    def iterations(self, net: str) -> list[int]:
        lines = (self.run(net) / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["iteration"] for line in lines]


@pytest.fixture(scope="module")
def frcnn(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    folder = tmp_path_factory.mktemp("first_hour")
    shapes.generate(folder / "drawn", train_images=12, test_images=4)
    return Commands(folder)


@pytest.fixture(scope="module")
def trained(frcnn: Commands) -> Path:
    """The last checkpoint of 6 updates, of which the second half was resumed."""
    words = frcnn.training("res18", 6, "--no-test")
    frcnn(*words)
    checkpoint = frcnn.run("res18") / "checkpoints" / "iter_0000006.pth"
    checkpoint.unlink()
    assert "resum" in frcnn.start(*words)
    assert frcnn.iterations("res18") == list(range(1, 7))
    return checkpoint


def test_tested(frcnn: Commands, trained: Path) -> None:
    table = frcnn("test", "drawn", "res18", "--checkpoint", trained)
    assert "mAP" in table


def test_exported_and_checked(frcnn: Commands, trained: Path) -> None:
    size = ("--batch", 1, "--size", "96x96", "--count", 2)
    log = frcnn("export", trained, "--to", "onnx", *size)
    assert "beside the detector: 2 images" in log


def test_pyramid_in_two_processes_in_bfloat16(frcnn: Commands) -> None:
    bfloat16 = ("--set", "train.precision", "bfloat16")
    processes = ("--gpus", 2, "--device", "cpu")
    log = frcnn.start(*frcnn.training("res18_fpn", 2, *processes, *bfloat16))
    assert "2 x cpu in bfloat16" in log and "mAP" in log
    assert frcnn.iterations("res18_fpn") == [1, 2]
