import errno
import multiprocessing
import os
import signal
import threading

import filelock
import pytest
from faster_rcnn.utils.locks import HeldElsewhereError, alone, take_lock
from patience import PATIENCE

CONTEXT = multiprocessing.get_context("fork")


def hold(path, pipe):
    kept = take_lock(path)
    pipe.send("held")
    pipe.recv()  # never comes
    kept.release()


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock, and what is started from it."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=hold, args=(tmp_path / "lock", theirs))
    process.start()
    assert ours.poll(PATIENCE) and ours.recv() == "held"
    yield process
    process.kill()
    process.join()


def test_the_second_process_is_refused_and_learns_who_is_first(tmp_path, holder):
    with pytest.raises(HeldElsewhereError) as caught:
        take_lock(tmp_path / "lock")
    text = str(caught.value)
    assert text.startswith(f"process {holder.pid} on {os.uname().nodename}, since 20")
    with pytest.raises(HeldElsewhereError):  # asking has not let it go
        take_lock(tmp_path / "lock")


def test_kill_gives_the_lock_back(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with take_lock(tmp_path / "lock"):
        assert f"process {os.getpid()} on" in (tmp_path / "lock").read_text()


def linger(pipe):
    pipe.recv()


def test_processes_forked_from_the_holder_hold_nothing(tmp_path):
    kept = take_lock(tmp_path / "lock")
    ours, theirs = CONTEXT.Pipe()
    child = CONTEXT.Process(target=linger, args=(theirs,))
    child.start()
    kept.release()
    asking, answer = CONTEXT.Pipe()
    process = CONTEXT.Process(target=hold, args=(tmp_path / "lock", answer))
    process.start()
    assert asking.poll(PATIENCE) and asking.recv() == "held"
    for running in (process, child):
        running.kill()
        running.join()
    assert ours


def test_file_system_without_locks(tmp_path, monkeypatch, caplog):
    def none(*arguments, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", none)
    take_lock(tmp_path / "lock").release()
    assert "cannot be locked" in caplog.text
    with alone(tmp_path):
        pass


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        take_lock(tmp_path / "none" / "lock")
    assert not (tmp_path / "none").exists()


def test_one_process_may_take_its_lock_twice(tmp_path):
    first, second = take_lock(tmp_path / "lock"), take_lock(tmp_path / "lock")
    first.release()
    assert second.is_locked


def test_only_one_at_a_time(tmp_path, caplog):
    order = []
    entered = threading.Event()

    def other():
        entered.set()
        with alone(tmp_path / "new"):
            order.append("other")

    thread = threading.Thread(target=other)
    with caplog.at_level("INFO", logger="faster_rcnn"), alone(tmp_path / "new"):
        thread.start()
        entered.wait()
        thread.join(timeout=0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]
    assert "waiting for another process" in caplog.text
