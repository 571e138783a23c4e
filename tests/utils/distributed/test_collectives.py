"""Several processes: what they share, and how they end when one of them fails."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from faster_rcnn.utils.distributed import collectives, heartbeat
from faster_rcnn.utils.distributed.rank import ProcessRank
from many_processes import in_processes, start_processes
from patience import PATIENCE

pytestmark = pytest.mark.processes


def test_alone():
    assert collectives.process_rank() == ProcessRank(0, 1, 0, 1)
    assert collectives.is_main() and not collectives.is_distributed()
    collectives.barrier()
    collectives.finish()
    tensor = torch.tensor([1.0, 2.0])
    assert collectives.all_sum(tensor) is tensor
    assert collectives.gather("a") == ["a"] and collectives.from_main("a") == "a"
    with collectives.main_first():
        pass
    assert not torch.distributed.is_initialized()


def share(folder):
    place = collectives.process_rank()
    rank = place.rank
    with collectives.main_first():
        # The others come after the main process has written.
        found = sorted(path.name for path in folder.iterdir())
        time.sleep(0.1 if rank == 0 else 0)
        (folder / str(rank)).touch()
    collectives.barrier()
    left = sorted(path.name for path in folder.iterdir())
    total = collectives.all_sum(torch.tensor([float(rank), 1.0])).tolist()
    items = collectives.gather({"rank": rank})
    given = collectives.from_main(f"from {rank}")
    return place, "0" in found, left, total, items, given


def test_together(tmp_path):
    results = in_processes(share, tmp_path, processes=3)
    for rank, (place, found, left, total, items, given) in enumerate(results):
        assert place == ProcessRank(rank, 3, rank, 3)
        assert found == (rank > 0)
        assert left == ["0", "1", "2"]
        assert total == [3.0, 3.0]
        assert items == ([{"rank": r} for r in range(3)] if rank == 0 else [])
        assert given == "from 0"


def fail(kind, rank, log):
    """Fail in one process, while the others wait for it in a reduction.

    They notice the end itself; silence alone would take longer than the test waits.
    """
    heartbeat._SILENT_SECONDS = 2 * PATIENCE
    own = f"{log}{collectives.process_rank().rank}"
    os.dup2(os.open(own, os.O_WRONLY | os.O_CREAT), 2)
    collectives.barrier()  # else another may still be joining when this one ends
    if collectives.process_rank().rank == rank:
        if kind == "error":
            raise ValueError("image7.png cannot be read")
        if kind == "bug":
            raise KeyError("bug")
        os.kill(os.getpid(), signal.SIGKILL)
    collectives.all_sum(torch.zeros(1))


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [("error", 2, "ERROR: image7.png cannot be read"), ("bug", 1, "KeyError: 'bug'")],
)
def test_all_end_with_the_first_error(tmp_path, rank, kind, status, text):
    log = tmp_path / "log"
    ended = start_processes(fail, kind, rank, log, processes=3)
    assert [code for code, _ in ended] == [status] * 3
    first, *others = (Path(f"{log}{r}").read_text() for r in range(3))
    assert first.count(text) == 1 and "gloo" not in first
    assert not any("ERROR" in other for other in others)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("rank", [0, 1])
def test_all_end_when_one_is_killed(tmp_path, rank):
    log = tmp_path / "log"
    ended = start_processes(fail, "kill", rank, log)
    codes = [code for code, _ in ended]
    assert codes[rank] == -signal.SIGKILL and codes[1 - rank] == 1
    told = Path(f"{log}{1 - rank}").read_text()
    assert told.count("ended without a message") == 1, told


def stand_still(log):
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    heartbeat._SILENT_SECONDS = 2.0
    collectives.barrier()
    if not collectives.is_main():
        os.kill(os.getpid(), signal.SIGSTOP)
    collectives.all_sum(torch.zeros(1))


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_hanging_process_is_noticed(tmp_path):
    """No connection is closed then; the silence is all there is to notice."""
    assert heartbeat._SILENT_SECONDS + heartbeat._SHOWN_SECONDS < 30
    ((code, _),) = start_processes(stand_still, tmp_path / "log", wait_for=1)
    assert code == 1
    told = (tmp_path / "log").read_text()
    assert told.count("process 1 ended without a message") == 1
