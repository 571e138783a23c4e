#!/usr/bin/env python3
"""Time training beside other programs, which take a part of the cores.

    python benchmarks/sharing.py                        # every way, every neighbour
    python benchmarks/sharing.py --rounds 3 --ways adaptive "one thread" --beside 0

Each way trains `shapes res18` for some seconds alone, beside a busy program of one
thread and of two, and beside another training of the same way, in turns. Each neighbour
is a session of its own, as of another user: Linux gives every session an equal share of
a core that both want. Images a second are counted from the tenth second on; "beside 0"
means something only on a machine with nothing else to do, so the load is printed too.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from reporting import markdown

WAYS: dict[str, dict[str, str]] = {
    "adaptive": {},
    "all threads": {"OMP_NUM_THREADS": str(os.cpu_count())},
    "all threads, passive": {
        "OMP_NUM_THREADS": str(os.cpu_count()),
        "OMP_WAIT_POLICY": "passive",
    },
    "adaptive, passive": {"OMP_WAIT_POLICY": "passive"},
    "adaptive, spin 10000": {"GOMP_SPINCOUNT": "10000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
BESIDE = ("0", "1", "2", "training")
BATCH = 4
WARM_UP = 10.0  # seconds: start, and the first measurements of what others use
ROOT = Path(__file__).resolve().parents[1]
FIXED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_LOOP = "while True: pass"
_BUSY = {"1": _LOOP, "2": f"import os\nos.fork()\n{_LOOP}"}


class Training:
    """A training in a session of its own, and the times of its updates."""

    def __init__(self, variables: dict[str, str], folder: Path) -> None:
        kept = {k: v for k, v in os.environ.items() if k not in FIXED}
        command = [sys.executable, str(ROOT / "tools" / "train_net.py")]
        command += ["shapes", "res18", "--no-test", "--output", str(folder)]
        command += ["--set", "train.log_every", "2", "train.batch_size", str(BATCH)]
        self.process = subprocess.Popen(
            command,
            env={**kept, **variables},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.updates: list[tuple[float, int]] = []
        self.told: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r" (\d+)/\d+ +[\d.]+% ", line):
                self.updates.append((time.monotonic(), int(found[1])))
            else:
                self.told.append(line)

    def wait_for_updates(self, count: int) -> None:
        """Wait until so many updates are logged."""
        while len(self.updates) < count:
            if self.process.poll() is not None:
                raise RuntimeError("the training ended: " + "".join(self.told[-5:]))
            time.sleep(0.1)

    def end(self, since: float) -> float:
        """End the training; return its images a second since a moment."""
        self.process.kill()
        self.process.wait()
        late = [update for update in self.updates if update[0] >= since]
        if len(late) < 2:
            return 0.0
        (begun, first), (ended, last) = late[0], late[-1]
        return BATCH * (last - first) / (ended - begun)


def measure(way: str, beside: str, seconds: float) -> float:
    """Return the images a second of a way beside a neighbour; of two trainings, all."""
    others = []
    if beside in _BUSY:
        command = [sys.executable, "-c", _BUSY[beside]]
        others.append(subprocess.Popen(command, start_new_session=True))
    with tempfile.TemporaryDirectory() as folder:
        try:
            count = 2 if beside == "training" else 1
            trainings = [
                Training(WAYS[way], Path(folder, str(number)))
                for number in range(count)
            ]
            for training in trainings:
                training.wait_for_updates(1)
            since = time.monotonic() + WARM_UP
            time.sleep(WARM_UP + seconds)
            return sum(training.end(since) for training in trainings)
        finally:
            for other in others:
                os.killpg(other.pid, 9)
                other.wait()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--beside", nargs="+", choices=BESIDE, default=list(BESIDE))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(options.rounds):
        for beside in options.beside:
            # Every second round in reverse: a run may profit from the one before it.
            for way in options.ways[:: -1 if number % 2 else 1]:
                rate = measure(way, beside, options.seconds)
                found.setdefault((way, beside), []).append(rate)
                load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
                print(
                    f"round {number + 1}, {way}, beside {beside}: {rate:.1f} images/s "
                    f"(load {load})",
                    flush=True,
                )
    header = [
        "images/s, median (least to most)",
        *(f"beside {b}" for b in options.beside),
    ]
    rows = []
    for way in options.ways:
        rows.append([way])
        for beside in options.beside:
            rates = found[way, beside]
            rows[-1].append(
                f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"
            )
    print(markdown(header, rows))


if __name__ == "__main__":
    main()
