"""Runs that are killed outright, again and again, end as if nothing had been.

`FRCNN_KILLS=50 pytest tests/test_killed_runs.py -s` kills at 50 random moments.
"""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from equality import assert_equal
from faster_rcnn.engine import train_record
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.utils import files
from faster_rcnn.utils.monitoring import summaries
from faster_rcnn.weights.checkpoint import load_checkpoint
from many_processes import start_process
from patience import PATIENCE
from tiny_runs import draw_dataset, tiny_config, train_tiny

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(os.name == "nt", reason="POSIX signals"),
]

KILLS = int(os.environ.get("FRCNN_KILLS", "0"))
ITERATIONS = 10
WORDS = ("train.snapshot_every", 1, "train.snapshots_kept", 2)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def before_second(owner, name):
    """Die at the second call of a function, if of files then for a checkpoint."""
    plain, calls = getattr(owner, name), []

    def counted(*arguments, **options):
        of_file = isinstance(arguments[0], Path)
        if not of_file or arguments[0].name.startswith(".iter_"):
            calls.append(1)
        if len(calls) == 2:
            die()
        return plain(*arguments, **options)

    setattr(owner, name, counted)


def while_writing_a_checkpoint():
    save, calls = torch.save, []

    def cut(state, path, *rest, **options):
        save(state, path, *rest, **options)
        calls.append(1)
        if len(calls) == 2:
            os.truncate(path, path.stat().st_size // 2)
            die()

    torch.save = cut


def while_writing_a_line():
    append, calls = summaries.MetricsFile.append, []

    def cut(self, iteration, values):
        calls.append(1)
        if len(calls) == 2:
            self._file.write(b'{"iteration": %d, "loss": 0.' % iteration)
            die()
        append(self, iteration, values)

    summaries.MetricsFile.append = cut


def while_writing_an_event():
    scalars, calls = summaries.Summaries.scalars, []

    def cut(self, values, number):
        scalars(self, values, number)
        calls.append(1)
        if len(calls) == 2:
            self.flush()
            os.truncate(self._path, self._path.stat().st_size - 7)
            die()

    summaries.Summaries.scalars = cut


MOMENTS = {
    "before the second update": lambda: before_second(torch.optim.SGD, "step"),
    "while writing a checkpoint": while_writing_a_checkpoint,
    "before a checkpoint is on the disk": lambda: before_second(files, "_sync_file"),
    "before a checkpoint gets its name": lambda: before_second(files.os, "replace"),
    "before old checkpoints go": lambda: before_second(RunFolder, "keep_newest"),
    "while writing a line": while_writing_a_line,
    "while writing an event": while_writing_an_event,
}


def tell_of_the_first_update(ready):
    step = train_record.TrainRecord.step

    def then_tell(*arguments, **options):
        step(*arguments, **options)
        ready.set()

    train_record.TrainRecord.step = then_tell


def work(moment, dataset, config, folder, ready=None):
    torch.set_num_threads(1)
    # As a run does; it would start a server of its own, which then had no parent.
    multiprocessing.set_start_method("fork", force=True)
    if moment is not None:
        MOMENTS[moment]()
    if ready is not None:
        tell_of_the_first_update(ready)
    # Resumed, a run has its weights from the checkpoint.
    train_tiny(dataset, config, folder, seed=len(RunFolder(folder).checkpoints()))


def events(folder: Path, name: str) -> list[tuple[int, float]]:
    # Not above: the processes that are killed import this module, and need it not.
    from tensorboard.backend.event_processing import event_accumulator as reader

    accumulator = reader.EventAccumulator(str(RunFolder(folder).tensorboard)).Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(name)]


def assert_same_end(folder: Path, unbroken: Path) -> None:
    """Weights, momenta, lines and curves are equal to the bit."""
    run, want = RunFolder(folder), RunFolder(unbroken)
    assert [p.name for p in run.checkpoints()] == [p.name for p in want.checkpoints()]
    state, expected = (load_checkpoint(r.newest_checkpoint()) for r in (run, want))
    for part in (state, expected):
        del part["config"]["data"]["workers"]
    assert_equal(state, expected)
    assert run.metrics_file.read_bytes() == want.metrics_file.read_bytes()
    for name in ("loss/total", "train/lr"):
        assert events(folder, name) == events(unbroken, name)
    files, others = (
        {path.name for path in at.iterdir() if ".tfevents." not in path.name}
        for at in (folder, unbroken)
    )
    assert files == others
    left = {path.name for path in (folder / "checkpoints").iterdir()}
    assert left == {path.name for path in want.checkpoints()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("images"), 5)


def test_a_run_killed_at_the_worst_moments(tmp_path, dataset):
    config = tiny_config("train.iterations", ITERATIONS, *WORDS)
    unbroken, folder = tmp_path / "unbroken", tmp_path / "killed"
    process = start_process(work, None, dataset, config, unbroken)
    for moment in MOMENTS:
        killed = start_process(work, moment, dataset, config, folder)
        killed.join(PATIENCE)
        assert killed.exitcode == -signal.SIGKILL, moment
        for path in RunFolder(folder).checkpoints():
            load_checkpoint(path)
    last = start_process(work, None, dataset, config, folder)
    for running in (process, last):
        running.join(PATIENCE)
        assert running.exitcode == 0
    assert_same_end(folder, unbroken)


@pytest.mark.skipif(not KILLS, reason="FRCNN_KILLS tells how many; minutes")
def test_runs_killed_at_random_moments(tmp_path, dataset):
    words = ("train.iterations", 30, *WORDS)
    unbroken, ready = (
        tmp_path / "unbroken",
        multiprocessing.get_context("forkserver").Event(),
    )
    process = start_process(work, None, dataset, tiny_config(*words), unbroken, ready)
    ready.wait(PATIENCE)
    began = time.monotonic()
    process.join(PATIENCE)
    pace = (time.monotonic() - began) / 30
    rng = random.Random(KILLS)
    found = {"kills": 0, "in vain": 0, "in a save": 0, "updates lost": 0}
    runs = 0
    while found["kills"] < KILLS:
        runs += 1
        folder, done, exitcode = tmp_path / f"run{runs}", 0, None
        while exitcode is None:
            config = tiny_config(*words, "data.workers", rng.choice([0, 1]))
            ready.clear()
            process = start_process(work, None, dataset, config, folder, ready)
            if found["kills"] == KILLS:
                process.join(PATIENCE)
            elif rng.random() < 0.2:  # mostly before the first update
                process.join(rng.uniform(0, 2))
            else:
                while process.is_alive() and not ready.wait(1):
                    pass
                process.join(rng.uniform(0, 6) * pace)
            exitcode = process.exitcode
            if exitcode is None:
                process.kill()
                process.join()
                done = look_at(folder, done, found)
        assert exitcode == 0
        assert_same_end(folder, unbroken)
    print(found | {"runs": runs, "seconds of an update": round(pace, 2)})


def look_at(folder: Path, done: int, found: dict[str, int]) -> int:
    """Check the files after a kill; gives the number of saved updates."""
    run = RunFolder(folder)
    # Whatever has a checkpoint's name is one.
    saved = [load_checkpoint(path)["iteration"] for path in run.checkpoints()]
    newest = max(saved, default=0)
    assert newest >= done
    text = run.metrics_file.read_text() if run.metrics_file.exists() else ""
    logged = text.count("\n")
    assert newest <= logged <= newest + 1, "more is lost than what was not yet saved"
    found["kills"] += 1
    found["in vain"] += newest == done
    found["in a save"] += bool(list((folder / "checkpoints").glob(".*.tmp")))
    found["updates lost"] += logged - newest
    return newest
