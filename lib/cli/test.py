"""Test a checkpoint: print per-class AP and mAP, save detections and pictures."""

import argparse
import logging
from pathlib import Path

from ..config.loading import config_from_checkpoint
from ..datasets.catalog import resolve
from ..engine.checkpoint_evaluation import evaluate_checkpoint
from ..engine.run_folder import RunFolder, newest_run
from ..inference.detector_evaluation import EvaluationOptions
from ..utils.device import keep_freed_memory, pick_device
from ..utils.distributed import collectives
from ..utils.monitoring.logs import setup_logging
from ..weights.zoo import open_checkpoint
from ..weights.zoo.cache import locate
from .arguments.evaluation import split_measures
from .command_line import dataset_settings, get_dataset, run_parent
from .processes import join_processes
from .roots import data_root
from .user_errors import clear_errors

logger = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    """Find the checkpoint, build its detector, and test it."""
    keep_freed_memory()
    with clear_errors():
        measure, tasks = split_measures(arguments.eval)
        join_processes(arguments)
        checkpoint, run = _find_checkpoint(arguments)
        state = open_checkpoint(checkpoint)
        given = ["data.root", str(data_root())]
        given += dataset_settings(arguments.dataset)
        config = config_from_checkpoint(state, [*given, *arguments.overrides])
        if arguments.net and config.net.full_name != arguments.net:
            raise ValueError(
                f"{checkpoint} has a detector with the net {config.net.full_name}, "
                f"but NET is {arguments.net}; give NET as {config.net.full_name}"
            )
        if run is None:
            _, train_set, _ = resolve(arguments.dataset)
            parent = run_parent(arguments.output, config.net.full_name, train_set)
            run = RunFolder(parent / (arguments.tag or checkpoint.stem))
        dataset = get_dataset(arguments.dataset, config, arguments.split)
        if collectives.is_main():
            setup_logging(run.log_file)
        logger.info("testing %s on %s", checkpoint, dataset.name)
        device = pick_device(arguments.device)
        evaluate_checkpoint(
            run,
            checkpoint,
            state,
            dataset,
            config,
            device=device,
            measure=measure,
            options=EvaluationOptions(
                arguments.evaluator, arguments.comp, tasks=tasks, out=arguments.out
            ),
        )


def _find_checkpoint(arguments: argparse.Namespace) -> tuple[Path, RunFolder | None]:
    """Find the checkpoint to test, and its run; None for a checkpoint of no run.

    Raises:
        ValueError: there is no such checkpoint.
    """
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
