import io
import logging
import math
import mmap
from pathlib import Path

import pytest
from faster_rcnn.utils.monitoring import progress
from faster_rcnn.utils.monitoring.logs import STATUS
from faster_rcnn.utils.monitoring.progress import (
    Progress,
    format_duration,
    format_value,
    memory_in_use_mb,
)

CLEAR = "\r\x1b[K"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(progress, "memory_in_use_mb", lambda: {"mem": 2048.0})
    return Terminal()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (754, "12:34"),
        (3600, "1:00:00"),
        (3 * 3600 + 12 * 60 + 5, "3:12:05"),
        (86400 * 2 + 3661, "2d 01:01:01"),
        (math.nan, "--:--"),
        (math.inf, "--:--"),
        (-1, "--:--"),
    ],
)
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (128, "128"),
        (0.0, "0"),
        (0.69314, "0.693"),
        (-12.3456, "-12.346"),
        (0.001, "0.001"),
        (0.0001, "0.0001"),
        (123456.0, "1.23e+05"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_format_value(value, text):
    assert format_value(value) == text


def test_log_lines_without_a_terminal(caplog):
    caplog.set_level(logging.INFO, "faster_rcnn")
    stream = io.StringIO()
    with Progress(25, log_every=10, stream=stream) as bar:
        for iteration in range(1, 26):
            bar.update(iteration, images=2, values={"loss": float(iteration)})
    assert stream.getvalue() == ""
    firsts = [message.split()[0] for message in caplog.messages]
    assert firsts == ["10/25", "20/25", "25/25"]
    assert "loss 10.000" in caplog.messages[0]


def test_early_lines_of_a_long_run(caplog):
    caplog.set_level(logging.INFO, "faster_rcnn")
    clock = Clock()
    bar = Progress(
        100, start=50, log_every=25, early=True, stream=io.StringIO(), clock=clock
    )
    for iteration in range(51, 76):
        clock.now += 1
        bar.update(iteration, images=1, values={"loss": 0.5})
    firsts = [message.split()[0] for message in caplog.messages]
    assert firsts == ["51/100", "60/100", "75/100"]
    assert "eta --:--" in caplog.messages[0] and "loss 0.500" in caplog.messages[0]
    assert "eta 0:40" in caplog.messages[1]


def test_nothing_is_logged_without_an_interval(terminal, caplog):
    caplog.set_level(logging.INFO, "faster_rcnn")
    with Progress(2, log_every=None, stream=terminal) as bar:
        bar.update(1, images=1)
        bar.update(2, images=1)
    assert "2/2 100.0%" in terminal.getvalue() and caplog.messages == []


def test_resumed_run_logs_at_the_same_iterations(caplog):
    caplog.set_level(logging.INFO, "faster_rcnn")
    bar = Progress(40, start=15, log_every=10, stream=io.StringIO())
    for iteration in range(16, 41, 3):  # 16 19 22 25 28 31 34 37 40
        bar.update(iteration, images=1)
    firsts = [message.split()[0] for message in caplog.messages]
    assert firsts == ["22/40", "31/40", "40/40"]


def test_rate_excludes_the_first_updates_and_pauses():
    clock = Clock()
    bar = Progress(100, log_every=1000, stream=io.StringIO(), clock=clock)
    for iteration in range(1, 4):
        clock.now += 50.0  # compiling
        bar.update(iteration, images=2)
    assert all(math.isnan(rate) for rate in bar.rates())
    for iteration in range(4, 9):
        clock.now += 0.5
        bar.update(iteration, images=2)
    assert bar.rates() == (2.0, 4.0)
    with bar.paused():
        clock.now += 1000.0
    clock.now += 0.5
    bar.update(9, images=2)
    assert bar.rates() == (2.0, 4.0)


def test_rate_follows_the_recent_past():
    clock = Clock()
    bar = Progress(10**6, log_every=10**6, stream=io.StringIO(), clock=clock)
    for iteration in range(1, 600):
        clock.now += 1.0 if iteration < 300 else 0.25
        bar.update(iteration, images=1)
    assert bar.rates() == (4.0, 4.0)


def test_stopped_clock():
    bar = Progress(10, log_every=1, stream=io.StringIO(), clock=lambda: 1.0)
    for iteration in range(1, 11):
        bar.update(iteration, images=1)
    assert all(math.isnan(rate) for rate in bar.rates())


def test_terminal_line_is_rewritten(terminal, caplog):
    caplog.set_level(logging.INFO, "faster_rcnn")
    clock = Clock()
    with Progress(12, log_every=5, stream=terminal, clock=clock) as bar:
        for iteration in range(1, 13):
            clock.now += 0.5
            bar.update(iteration, images=1, values={"loss": 0.5})
    frames = terminal.getvalue().split(CLEAR)[1:]
    assert len(frames) == 13  # once per update, and at the end
    # 2 iterations a second from the third update on; 12 - 10 = 2 are left.
    assert frames[9] == "10/12  83.3%  eta 0:01  2.00 img/s  mem 2.0G  loss 0.500"
    assert terminal.getvalue().endswith("\n")
    assert terminal.getvalue().count("\n") == 1
    # The log file gets its lines all the same, the console does not.
    assert [r.getMessage().split()[0] for r in caplog.records] == [
        "5/12",
        "10/12",
        "12/12",
    ]
    assert all(getattr(r, "file_only", False) for r in caplog.records)


def test_terminal_is_not_redrawn_too_often(terminal):
    clock = Clock()
    bar = Progress(1000, log_every=1000, stream=terminal, clock=clock)
    for iteration in range(1, 100):
        clock.now += 0.01
        bar.update(iteration, images=1)
    assert terminal.getvalue().count(CLEAR) <= 11
    bar.close()


def test_interrupted_line_shows_the_last_iteration(terminal):
    bar = Progress(1000, log_every=1000, stream=terminal, clock=Clock())
    for iteration in (1, 2, 3):
        bar.update(iteration, images=1, values={"loss": 1.0})
    bar.close()
    bar.close()
    assert terminal.getvalue().count("\n") == 1
    assert "   3/1000" in terminal.getvalue().split(CLEAR)[-1]


def test_long_lines_are_cut_to_the_terminal(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    bar = Progress(10, log_every=1, stream=terminal, clock=Clock())
    bar.update(1, images=1, values={f"loss_{i}": 1.0 for i in range(20)})
    bar.close()
    frames = terminal.getvalue().rstrip("\n").split(CLEAR)
    assert max(map(len, frames)) == 29


def test_pause_gives_the_terminal_away(terminal):
    bar = Progress(10, log_every=10, stream=terminal, clock=Clock())
    bar.update(1, images=1)
    with bar.paused():
        assert terminal.getvalue().endswith(CLEAR)
        STATUS.show(terminal, "testing 3/4")
        STATUS.finish()
    bar.close()
    assert terminal.getvalue().endswith("\n")


def test_values_stay_until_there_are_new_ones(terminal):
    clock = Clock()
    bar = Progress(10, log_every=10, stream=terminal, clock=clock)
    bar.update(1, images=1, values={"loss": 0.25})
    clock.now += 1
    bar.update(2, images=1)
    assert "loss 0.250" in terminal.getvalue().split(CLEAR)[-1]
    bar.close()


def test_dumb_terminals_get_log_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with Progress(1, log_every=1, stream=stream) as bar:
        bar.update(1, images=1)
    assert stream.getvalue() == ""


def test_nothing_done_prints_nothing(terminal):
    with Progress(10, start=10, log_every=1, stream=terminal):
        pass
    assert terminal.getvalue() == ""


def test_bad_interval():
    with pytest.raises(ValueError, match="log_every must be at least 1, found 0"):
        Progress(10, log_every=0)


def test_memory_is_that_of_this_process():
    before = memory_in_use_mb()["mem"]
    # Fresh pages of the system's: a block of malloc's may be one that was freed before.
    with mmap.mmap(-1, 64 << 20) as block:
        for page in range(0, 64 << 20, 4096):
            block[page] = 1
        grown = memory_in_use_mb()["mem"] - before
    assert 32 < grown < 256
    assert 16 < before < 2**20


def test_memory_without_proc(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    now = memory_in_use_mb()["mem"]
    monkeypatch.setattr(Path, "read_text", missing)
    assert memory_in_use_mb()["mem"] > 0.5 * now  # the peak, in the right unit


@pytest.mark.parametrize(("peak", "names"), [(0, ["mem"]), (2**30, ["mem", "gpu"])])
def test_gpu_memory_shows_once_in_use(monkeypatch, peak, names):
    monkeypatch.setattr(progress.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(progress.torch.cuda, "max_memory_allocated", lambda: peak)
    memory = memory_in_use_mb()
    assert list(memory) == names
    assert memory.get("gpu", 1024.0) == 1024.0
