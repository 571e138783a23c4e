"""The whole system: a detector learns, and a run survives what stops it."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from faster_rcnn.datasets import shapes
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.inference.detector_evaluation import evaluate_detector as run_test
from faster_rcnn.weights.checkpoint import load_checkpoint
from many_processes import start_program
from patience import PATIENCE
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import CPU, draw_dataset, tiny_config, tiny_settings, train_tiny

pytestmark = pytest.mark.processes

TRAIN_NET = Path(__file__).resolve().parents[1] / "tools" / "train_net.py"


def test_a_few_images_are_learned_by_heart(tmp_path):
    dataset = draw_dataset(tmp_path / "images", 2, seed=1)
    config = tiny_config(
        *("train.iterations", 80, "train.batch_size", 2, "train.log_every", 16),
        *("train.lr", 0.02, "train.lr_steps", "[65]", "train.clip_norm", 10),
        *("data.flip", "false", "test.pictures", 2),
    )
    model = train_tiny(dataset, config, tmp_path / "run")
    evaluation = run_test(
        model,
        dataset,
        config,
        folder=tmp_path / "test",
        device=CPU,
        dtype=torch.float32,
        checkpoint="iter_0000080.pth",
    )
    name, mean_ap = evaluation.headline
    assert name == "mAP_07"
    assert mean_ap >= 0.9, evaluation.table()
    assert len(list((tmp_path / "test" / "pictures").iterdir())) == 2
    lines = RunFolder(tmp_path / "run").metrics_file.read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 5 and losses[-1] < losses[0] / 4


class Command:
    """Runs of one train_net command, each in a process group of its own."""

    def __init__(self, folder: Path, *overrides: object) -> None:
        # A folder of this name goes by the recipe of that name.
        shapes.generate(folder / "shapes", train_images=6, test_images=3)
        self.output, self.errors = folder / "stdout.txt", folder / "stderr.txt"
        self.run = RunFolder(folder / "output/mobile_v2/shapes_train/tag")
        settings = tiny_settings(*overrides)
        del settings[:2]  # the net's name
        self.words = [TRAIN_NET, folder / "shapes", "mobile_v2", "--tag", "tag"]
        self.words += ["--output", folder / "output", "--device", "cpu"]
        self.words += ["--set", *settings]

    def start(self) -> None:
        self.process = start_program(self.words, output=self.output, errors=self.errors)

    def finish(self) -> tuple[int, str, str]:
        """Exit status, output and log."""
        self.process.join(PATIENCE)
        return self.process.exitcode, self.output.read_text(), self.errors.read_text()

    def iterations(self) -> list[int]:
        path = self.run.metrics_file
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)["iteration"] for line in lines]

    def wait_for_iteration(self, number: int) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if (self.iterations() or [0])[-1] >= number:
                return
            assert self.process.exitcode is None, self.errors.read_text()
            time.sleep(0.02)
        raise AssertionError(f"iteration {number} was never reached")


@pytest.fixture
def command(tmp_path):
    made = Command(
        tmp_path, "train.iterations", 40, "data.workers", 1, "test.pictures", 2
    )
    yield made
    made.process.kill()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_run_is_stopped_twice_and_finished(command):
    done = 0
    # Both reach the loader's workers too, as from a job scheduler and a terminal.
    for number in (signal.SIGTERM, signal.SIGINT):
        command.start()
        command.wait_for_iteration(done + 2)
        os.killpg(command.process.pid, number)
        status, output, log = command.finish()
        assert status == 130, log
        assert f"{number.name}: saving after this iteration" in log
        assert "the same command resumes there" in log
        assert "Traceback" not in log and not output
        newest = command.run.newest_checkpoint()
        iteration = load_checkpoint(newest)["iteration"]
        assert done < iteration < 40
        assert newest == command.run.checkpoint(iteration)
        assert command.iterations() == list(range(1, iteration + 1))
        done = iteration

    command.start()
    status, output, log = command.finish()
    assert status == 0, log
    assert f"resumed from {newest}" in log
    assert command.iterations() == list(range(1, 41))
    assert load_checkpoint(command.run.newest_checkpoint())["iteration"] == 40
    check_test(command.run, output)


def check_test(run: RunFolder, output: str) -> None:
    """The final checkpoint was tested, and everyone can see how it went."""
    folder = run.folder_of_test("shapes_test", run.newest_checkpoint())
    results = json.loads((folder / "results.json").read_text())
    assert results["counts"]["images"] == 3
    assert results["settings"]["checkpoint"] == "iter_0000040.pth"
    assert len(list((folder / "pictures").iterdir())) == 2
    assert f"mAP_07 = {results['headline']['value']:.4f}" in output
    events = EventAccumulator(str(run.tensorboard)).Reload()
    expected = {"test/mAP_07": results["headline"]["value"]} | {
        f"test/AP_07/{name}": of_class["AP_07"]
        for name, of_class in results["per_class"].items()
        if of_class["AP_07"] is not None
    }
    assert len(expected) > 1
    for name, value in expected.items():
        (event,) = events.Scalars(name)
        assert (event.step, event.value) == (40, pytest.approx(value))
    assert [event.step for event in events.Scalars("loss/total")] == list(range(1, 41))
