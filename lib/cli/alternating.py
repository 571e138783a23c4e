"""Train a detector in the four alternating steps of Faster R-CNN, section 3.2."""

import argparse
import logging
import signal
import subprocess
import sys
from pathlib import Path

from ..config.loading import ConfigError
from ..engine.alternating import join_modules
from ..engine.run_folder import RunFolder
from ..weights.checkpoint import load_checkpoint
from .arguments.shared import SETTINGS
from .command_line import Job, get_dataset, given_value, make_job, run_parent
from .user_errors import clear_errors

logger = logging.getLogger(__name__)


class Turns:
    """Run each step through ``frcnn train`` or ``frcnn test``."""

    def __init__(self, arguments: argparse.Namespace, job: Job) -> None:
        self.arguments = arguments
        self.config = job.config
        # Without the word, the folder would be that of a joint training run.
        name = "alternating" if job.tag == "default" else f"alternating_{job.tag}"
        self.tag = arguments.tag or name
        self.net = job.config.net.full_name
        self.parent = run_parent(arguments.output, self.net, job.config.data.train_set)
        self.train_set = get_dataset(job.dataset, job.config, "train").name
        self.updates = 0

    def run_of(self, name: str) -> RunFolder:
        """Return the run folder of a step, or of the joined detector if unnamed."""
        return RunFolder(self.parent / "_".join(filter(None, (self.tag, name))))

    def train(self, name: str, *settings: object, first: bool = True) -> Path:
        """Train a module unless it is trained already, and return its checkpoint.

        Args:
            name: name of the step, starting with its number.
            first: whether the step starts from the initial weights that the user names.
        """
        given, run = self.arguments, self.run_of(name)
        words = ["--tag", run.path.name]
        iterations = given.step_iters[int(name[0]) - 1] if given.step_iters else None
        values = {option: given_value(given, option) for option in SETTINGS}
        values |= {"--cfg": given.cfg, "--workers": given.workers}
        values |= {"--weights": given.weights if first else None}
        values |= {"--iters": iterations} if iterations else {}
        for option, value in values.items():
            if value is not None:
                words += [option, str(value)]
        words += ["--deterministic"] if given.deterministic else []
        words += ["--no-test", "--set", *given.overrides, *map(str, settings)]
        self._call("train", words)
        checkpoint = run.newest_checkpoint()
        self.updates += load_checkpoint(checkpoint)["iteration"]
        return checkpoint

    def propose(self, name: str, checkpoint: Path) -> Path:
        """Compute proposals of the training images, unless they exist."""
        run = self.run_of(name)
        path = run.folder_of_test(self.train_set, checkpoint) / "proposals.npz"
        if not path.exists():
            words = ["--tag", run.path.name, "--checkpoint", str(checkpoint)]
            self.test(*words, "--split", "train", "--eval", "proposal")
        return path.resolve()

    def test(self, *words: str) -> None:
        """Test a checkpoint on a set of the data set."""
        data = self.config.data
        sets = ["data.root", str(data.root), "data.train_set", data.train_set]
        self._call("test", [*words, "--set", *sets, "data.test_set", data.test_set])

    def _call(self, name: str, words: list[str]) -> None:
        """Run a command, and exit with its status if it fails."""
        given = self.arguments
        command = [sys.executable, "-m", str(__package__), name]
        command += [given.dataset, self.net]
        command += ["--device", given.device, "--output", str(given.output)]
        command += ["--gpus", str(given.gpus)] if given.gpus else []
        logger.info("%s", " ".join([name, given.dataset, self.net, *words]))
        # Ctrl-C reaches the command too, which needs time to save.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        with subprocess.Popen([*command, *words]) as process:
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            status = process.wait()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, before)
        if status:
            sys.exit(status if status > 0 else 1)


def main(arguments: argparse.Namespace) -> None:
    """Run the four steps, join their layers, and test the detector."""
    with clear_errors():
        job = make_job(arguments)
        if not job.config.net.proposes:
            raise ConfigError(
                f"{job.config.net.full_name} has one stage, so there are no two to "
                "train in turns; use frcnn train, or a NET with proposals"
            )
        turns = Turns(arguments, job)
        rpn = turns.train("1_rpn", "net.modules", "rpn")
        given = ("net.modules", "fast_rcnn", "data.proposals")
        proposals = turns.propose("1_rpn", rpn)
        fast_rcnn = turns.train("2_fast_rcnn", *given, proposals)
        fixed = ("net.weights", fast_rcnn.resolve(), "net.fixed_shared", "true")
        rpn = turns.train("3_rpn", "net.modules", "rpn", *fixed, first=False)
        proposals = turns.propose("3_rpn", rpn)
        fast_rcnn = turns.train("4_fast_rcnn", *given, proposals, *fixed, first=False)
        run = turns.run_of("")
        path = join_modules(rpn, fast_rcnn, run, iteration=turns.updates)
        logger.info("one detector: %s", path)
        if not arguments.no_test:
            turns.test("--tag", run.path.name)
