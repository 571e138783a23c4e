#!/usr/bin/env python3
"""Train a detector, then test its final checkpoint."""

import argparse
import logging

from faster_rcnn.model.checkpoint import load_checkpoint
from faster_rcnn.model.command_line import (
    add_arguments,
    add_training_arguments,
    clear_errors,
    get_dataset,
    make_job,
    run_parent,
    test_checkpoint,
)
from faster_rcnn.model.device import keep_freed_memory, seed_everything
from faster_rcnn.model.faster_rcnn import build_detector
from faster_rcnn.model.run_folder import RunFolder
from faster_rcnn.model.train import train
from faster_rcnn.model.weights import load_initial_weights
from faster_rcnn.utils.logs import setup_logging

logger = logging.getLogger("faster_rcnn")


def build_parser() -> argparse.ArgumentParser:
    """The arguments of train.sh."""
    parser = argparse.ArgumentParser(prog="train.sh", description=__doc__)
    add_arguments(parser)
    add_training_arguments(parser)
    parser.add_argument("--no-test", action="store_true", help="only train")
    return parser


def main() -> None:
    """Parse, build, train, test."""
    arguments = build_parser().parse_args()
    keep_freed_memory()
    with clear_errors():
        job = make_job(arguments)
        config = job.config
        train_set = get_dataset(job.dataset, config, "train")
        # Both sets are read now: a fault in the test set should not show up only after
        # days of training.
        test_set = get_dataset(job.dataset, config, "test")
        parent = run_parent(arguments.output, config.net.name, config.data.train_set)
        run = RunFolder(parent / job.tag)
        run.claim(config)
        setup_logging(run.log_file)
        logger.info("run folder: %s", run.path)
        logger.info("recipes: %s", " + ".join(path.name for path in job.recipes))
        logger.info(
            "%s: %d images, %d classes; on %s in %s",
            train_set.name,
            len(train_set.records),
            len(train_set.classes) - 1,
            job.device,
            str(job.dtype).removeprefix("torch."),
        )
        seed_everything(config.train.seed)
        model = build_detector(config, len(train_set.classes))
        if not run.checkpoints():
            load_initial_weights(model, config.net)
        model.to(job.device)
        train(model, train_set, config, run, device=job.device, dtype=job.dtype)
        if not arguments.no_test:
            final = run.checkpoints()[-1]
            state = load_checkpoint(final)
            test_checkpoint(run, final, state, test_set, config, device=job.device)


if __name__ == "__main__":
    main()
