"""The Python API: train, test and check as the commands do, and by the same code.

``import faster_rcnn as f`` has these names. A keyword is an option of the command
without its dashes (``batch_size`` for ``--batch-size``), or a setting with its section
(``**{"anchors.ratios": [1]}``). Errors are raised; nothing ends the program.
"""

import argparse
import atexit
import difflib
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .cli.check import run_check
from .cli.command_line import dataset_settings, get_dataset, open_data
from .cli.parser import Parser
from .cli.roots import data_root
from .cli.test import evaluation_options, run_test
from .cli.train import train_and_test
from .cli.user_errors import shared_errors
from .config.loading import config_from_checkpoint
from .datasets.checks.run_checks import Report
from .datasets.folders import Split
from .detector import Detector
from .engine.callbacks import Callback, TrainingEvent
from .engine.checkpoint_evaluation import for_classes, show_table
from .engine.run_folder import RunFolder
from .evaluation.results_summary import Evaluation
from .inference.detector_evaluation import evaluate_detector
from .utils.distributed import collectives
from .utils.monitoring.curves import Curve, read_runs
from .utils.monitoring.logs import setup_logging

__all__ = ["Callback", "Run", "TrainingEvent", "check", "evaluate", "train"]

_NO_KEYWORDS = {"help", "set", "cfg-options", "gpus", "procs-per-gpu", "launcher"}
"""Options without a keyword: torchrun starts the processes of a program."""

atexit.register(collectives.finish)  # of a program that torchrun has started


class Run:
    """A training run; ``Run(folder)`` opens an earlier one.

    Attributes:
        folder: the run's folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        """Return the folder as Python."""
        return f"Run({str(self.folder)!r})"

    @property
    def _files(self) -> RunFolder:
        return RunFolder(self.folder)

    @property
    def best(self) -> Path:
        """Return the best checkpoint in validation, or the newest without validation.

        Raises:
            ValueError: there is none.
        """
        return self._files.best_or_newest()

    @property
    def curves(self) -> dict[str, Curve]:
        """Return the curves of the run by name: losses, ``val/AP`` and so on.

        Raises:
            ValueError: nothing has been logged yet.
        """
        return read_runs([self.folder])[0].curves

    @property
    def metrics(self) -> dict[str, float]:
        """Return the last value of each curve, and the headline of each test of `best`.

        A test's name is that of its figure and its set: ``mAP_07 on voc_2007_test``.

        Raises:
            ValueError: nothing has been logged yet.
        """
        metrics = {name: float(c.values[-1]) for name, c in self.curves.items()}
        for file in self.folder.glob(f"test/*/{self.best.stem}/results.json"):
            headline = json.loads(file.read_text(encoding="utf-8"))["headline"]
            if headline["value"] is not None:  # there were objects
                metrics[f"{headline['name']} on {file.parts[-3]}"] = headline["value"]
        return metrics

    def test(
        self,
        data: str | Path | None = None,
        *,
        split: Split = "test",
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Evaluation | None:
        """Test the best checkpoint, as ``frcnn test`` does.

        Args:
            data: DATASET of the command; None for the run's own.
            split: ``test``, ``val`` or ``train``.
            settings: settings by ``section.key``, as after ``--set``.
            options: further options and settings of the command.

        Returns:
            The figures; None of proposals, and on processes other than the main one.

        Raises:
            ValueError: the data set or an option is invalid.
        """
        return _test(self.best, data, {"split": split, **options}, settings)

    def detector(self, **options: Any) -> Detector:
        """Load the best checkpoint; options are those of `Detector.from_checkpoint`."""
        return Detector.from_checkpoint(self.best, **options)


def train(
    data: str | Path,
    net: str | None = None,
    *,
    epochs: float | None = None,
    batch_size: int | None = None,
    imgsz: int | None = None,
    lr: float | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    name: str | None = None,
    callbacks: Sequence[Callback] = (),
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Train a detector, as ``frcnn train --no-test`` does.

    The same call again continues a run that was stopped.

    Args:
        data: DATASET of the command: a folder, or a word such as ``voc``.
        net: NET of the command; None for a default.
        epochs: passes over the training images.
        batch_size: images at once.
        imgsz: longer side of the network's input in pixels.
        lr: learning rate.
        weights: initial weights.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        name: name of the run; by default, the settings that differ from the recipe.
        callbacks: called with a `TrainingEvent` after each update and validation, and
            at the end.
        settings: settings by ``section.key``, as after ``--set``.
        options: further options and settings of the command.

    Raises:
        ValueError: a setting or a data set is invalid; the message says what to change.
        Interrupted: after Ctrl-C; the state is saved.
        Exception: see `engine.train.train`.
    """
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "imgsz": imgsz,
        "lr": lr,
        "weights": weights,
        "device": device,
        "name": name,
        "no_test": True,
        **options,
    }
    arguments = _arguments("train", [data, net], given, settings)
    try:
        with shared_errors():
            return Run(train_and_test(arguments, callbacks).path)
    finally:
        setup_logging()  # closes the log of the run


def evaluate(
    detector: Detector | Run | str | Path,
    data: str | Path,
    *,
    split: Split = "test",
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Evaluation | None:
    """Test a detector on a data set, and write what ``frcnn test`` writes.

    Args:
        detector: a detector in memory, whose results go to output/evaluate/; a run; or
            a checkpoint, as after ``--checkpoint``.
        data: DATASET of the command.
        split: ``test``, ``val`` or ``train``.
        out: another file for the detections, ``.json`` (COCO results) or ``.csv``.
        settings: settings by ``section.key``, as after ``--set``.
        options: further options and settings of the command.

    Returns:
        The figures; None of proposals, and on processes other than the main one.

    Raises:
        ValueError: the data set or an option is invalid, or the detector does not know
            its classes.
    """
    given = {"split": split, "out": out, **options}
    if not isinstance(detector, Detector):
        checkpoint = detector.best if isinstance(detector, Run) else detector
        return _test(checkpoint, data, given, settings)
    arguments = _arguments("test", [data], given, settings)
    with shared_errors():
        word = open_data(arguments.dataset)
        overrides = ["data.root", str(data_root()), *dataset_settings(word)]
        config = config_from_checkpoint(
            {"config": detector.config.model_dump(mode="json")},
            [*overrides, *arguments.overrides],
        )
        dataset = get_dataset(word, config, arguments.split)
        _, options_given = evaluation_options(arguments)
        classes = detector.classes
        found = evaluate_detector(
            detector.expect_network(),
            dataset,
            config,
            folder=arguments.output / "evaluate" / dataset.name,
            device=detector.device,
            dtype=detector.dtype,
            checkpoint="a detector in memory",
            options=for_classes(options_given, classes, dataset, source="the detector"),
        )
    if found is not None:
        show_table(found.table())
    return found


def check(
    data: str | Path,
    net: str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Report:
    """Check a data set, as ``frcnn check`` does, and return the findings.

    Args:
        data: DATASET of the command.
        net: net whose recipe gives the anchors.
        settings: settings by ``section.key``, as after ``--set``.
        options: options and settings of the command.

    Raises:
        ValueError: the data set cannot be read, or an option is invalid.
    """
    arguments = _arguments("check", [data, net], options, settings)
    with shared_errors():
        return run_check(arguments)


def _test(
    checkpoint: str | Path,
    data: str | Path | None,
    options: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
) -> Evaluation | None:
    given = {"checkpoint": checkpoint, **options}
    arguments = _arguments("test", [data], given, settings)
    try:
        with shared_errors():
            return run_test(arguments)
    finally:
        setup_logging()  # closes the log of the run


def _arguments(
    command: str,
    positional: Sequence[object],
    options: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
) -> argparse.Namespace:
    """Parse the arguments of a function as those of a command.

    Raises:
        TypeError: the command has no option of a name.
        ValueError: a value is invalid.
    """
    module = import_module(f".cli.arguments.{command}", __package__)
    parser: Parser = module.build_parser(f"{command}()")
    known = {text[2:] for text in parser.long_options()} - _NO_KEYWORDS
    settings = dict(settings or {})
    words = [str(word) for word in positional if word is not None]
    for keyword, value in options.items():
        option = keyword.replace("_", "-")
        if "." in keyword:
            settings[keyword] = value
        elif option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"; did you mean {near[0].replace('-', '_')}?" if near else ""
            raise TypeError(f"{command}() has no keyword {keyword!r}{hint}")
        elif value is True:
            words.append(f"--{option}")
        elif isinstance(value, list | tuple):
            words += [f"--{option}", *map(str, value)]
        elif value is not None and value is not False:
            words.append(f"--{option}={value}")
    arguments = parser.parse_words(words)
    for key, value in settings.items():
        arguments.overrides += [key, _text(value)]
    return arguments


def _text(value: object) -> str:
    """Return a value of a setting as YAML."""
    return str(value) if isinstance(value, str | Path) else json.dumps(value)
