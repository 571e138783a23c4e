"""Some of the cases that benchmarks/fuzz.py reads."""

import sys
from collections import Counter

import fuzz
import pytest
from fuzz_cases import FuzzCase, make_case

CASES = 120


def test_cases_are_functions_of_their_numbers():
    for number in range(6):
        assert make_case(number) == make_case(number)
    kinds = Counter(make_case(number).kind for number in range(30))
    assert kinds.keys() == {"checkpoint", "weights", "config", "image"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_damaged_files_are_read_or_refused():
    outcomes = fuzz.run(10_000, 10_000 + CASES)
    assert [outcome.number for outcome in outcomes] == [*range(10_000, 10_000 + CASES)]
    assert [outcome for outcome in outcomes if not outcome.sound] == []
    # Some still are what they were, so it is not the harness that refuses them.
    assert sum(outcome.result == "read" for outcome in outcomes) > CASES // 20
    assert max(outcome.peak for outcome in outcomes) < 900  # MiB
    assert f"{'read':>16}" in fuzz.table(outcomes)


def test_what_is_a_fault(tmp_path, monkeypatch):
    case = FuzzCase("config", "recipe.yml", b"train: {lr: fast}")
    assert fuzz.judge(case, tmp_path) == ("ConfigError", True)
    assert fuzz.judge(case._replace(data=b""), tmp_path) == ("read", True)
    for error in (KeyError("x"), MemoryError(), ValueError(""), ValueError("x" * 5000)):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(fuzz, "read_case", fail)
        assert fuzz.judge(case, tmp_path) == (type(error).__name__, False)


def test_processes_that_die_or_hang(monkeypatch, tmp_path):
    """The case at which a process ends is a fault, and the next ones are read."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import os, sys, time\n"
        "first, last = map(int, sys.argv[2:])\n"
        "for n in range(first, last):\n"
        "    if n == 3: os._exit(9)\n"
        "    if n == 5: time.sleep(600)\n"
        "    print(f'#{n} image read 1 7', flush=True)\n"
    )
    monkeypatch.setattr(fuzz, "__file__", str(script))
    monkeypatch.setattr(fuzz, "SECONDS", 2)
    outcomes = fuzz.run(0, 7)
    assert [outcome.result for outcome in outcomes] == [
        *("read", "read", "read", "died", "read", "hung", "read"),
    ]
    assert [outcome.sound for outcome in outcomes].count(False) == 2
    assert outcomes[0].peak == 7


def test_command_line(monkeypatch, capsys):
    bad = fuzz.Outcome(4, "image", "KeyError", False)
    monkeypatch.setattr(fuzz, "run", lambda *_: [bad])
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--cases", "1"])
    with pytest.raises(SystemExit) as caught:
        fuzz.main()
    assert (
        caught.value.code and "fault: case 4: image KeyError" in capsys.readouterr().out
    )
