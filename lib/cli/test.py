"""Test a checkpoint: print per-class AP and mAP, save detections and pictures."""

import argparse
import logging
import tempfile
from pathlib import Path

from ..config.loading import config_from_checkpoint
from ..datasets.catalog import resolve
from ..demo.window import expect_display, show_pictures
from ..engine.checkpoint_evaluation import evaluate_checkpoint
from ..engine.run_folder import RunFolder, newest_run
from ..evaluation.results_summary import Evaluation, Measure
from ..inference.detector_evaluation import EvaluationOptions
from ..utils.device import keep_freed_memory, pick_device
from ..utils.distributed import collectives
from ..utils.monitoring.logs import setup_logging
from ..utils.shared_cores import share_cores
from ..weights.zoo import open_checkpoint
from ..weights.zoo.cache import locate
from .arguments.evaluation import split_measures
from .command_line import dataset_settings, get_dataset, open_data, run_parent
from .processes import join_processes
from .roots import data_root
from .user_errors import clear_errors

logger = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    """Find the checkpoint, build its detector, and test it."""
    share_cores()
    with clear_errors():
        run_test(arguments)


def run_test(arguments: argparse.Namespace) -> Evaluation | None:
    """Do what the arguments of ``frcnn test`` ask for.

    Returns:
        The evaluation of detections; None for proposals, and on other processes.

    Raises:
        ValueError: there is no such checkpoint or data set, or they do not match.
    """
    keep_freed_memory()
    if arguments.show:
        expect_display()
    measure, options = evaluation_options(arguments)
    join_processes(arguments)
    if arguments.dataset is not None:
        arguments.dataset = open_data(arguments.dataset)
    checkpoint, run = _find_checkpoint(arguments)
    state = open_checkpoint(checkpoint)
    word = arguments.dataset
    given = ["data.root", str(data_root())]
    given += [] if word is None else dataset_settings(word)
    config = config_from_checkpoint(state, [*given, *arguments.overrides])
    if arguments.net and config.net.full_name != arguments.net:
        raise ValueError(
            f"{checkpoint} has a detector with the net {config.net.full_name}, "
            f"but NET is {arguments.net}; give NET as {config.net.full_name}"
        )
    if run is None:
        train_set = config.data.train_set if word is None else resolve(word)[1]
        parent = run_parent(arguments.output, config.net.full_name, train_set)
        run = RunFolder(parent / (arguments.tag or checkpoint.stem))
    dataset = get_dataset(word or "", config, arguments.split)
    if collectives.is_main():
        setup_logging(run.log_file)
    logger.info("testing %s on %s", checkpoint, dataset.name)
    with tempfile.TemporaryDirectory() as temporary:
        pictures = options.show_dir or Path(temporary)
        if arguments.show:
            options = options._replace(show_dir=pictures)
        found = evaluate_checkpoint(
            run,
            checkpoint,
            state,
            dataset,
            config,
            device=pick_device(arguments.device),
            measure=measure,
            options=options,
        )
        if arguments.show and found is not None:
            show_pictures(pictures)
    return found


def evaluation_options(
    arguments: argparse.Namespace,
) -> tuple[Measure | None, EvaluationOptions]:
    """Return what the arguments want to be measured, and how.

    Raises:
        ValueError: they combine what different tests measure.
    """
    measure, tasks = split_measures(arguments.eval)
    return measure, EvaluationOptions(
        arguments.evaluator,
        arguments.comp,
        tasks=tasks,
        out=arguments.out,
        show_dir=arguments.show_dir,
    )


def _find_checkpoint(arguments: argparse.Namespace) -> tuple[Path, RunFolder | None]:
    """Find the checkpoint to test, and its run; None for a checkpoint of no run."""
    best = arguments.checkpoint == Path("best")
    if arguments.checkpoint is not None and not best:
        checkpoint = locate(arguments.checkpoint)
        folder = checkpoint.resolve().parent
        own = folder.name == "checkpoints"
        return checkpoint, RunFolder(folder.parent) if own else None
    _, train_set, _ = resolve(arguments.dataset)
    nets = (
        [arguments.net]
        if arguments.net
        else [path.name for path in arguments.output.glob("*")] or ["*"]
    )
    parents = [run_parent(arguments.output, net, train_set) for net in nets]
    run = newest_run(parents, arguments.tag)
    checkpoint = run.best_checkpoint if best else run.newest_checkpoint()
    if best and not checkpoint.exists():
        raise ValueError(
            f"no best checkpoint in {checkpoint.parent}: the run had no validation; "
            "leave out --checkpoint to test its newest one"
        )
    return checkpoint, run
