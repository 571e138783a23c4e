"""Train a detector, then test its final checkpoint, or the best if it validates."""

import argparse
import logging
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..config.settings import Config
from ..datasets.class_balance import describe_balance
from ..datasets.given_proposals import proposal_file
from ..datasets.wanted_instances import wanted_instances, with_keypoints_of
from ..engine.callbacks import Callback
from ..engine.checkpoint_evaluation import evaluate_checkpoint, settle_measure
from ..engine.costs import state_bytes
from ..engine.determinism import be_deterministic
from ..engine.dry_run import dry_run
from ..engine.extension import describe_extension, extended_config
from ..engine.fit_to_data import fit_to_data, fits_memory
from ..engine.out_of_memory import memory_advice
from ..engine.profiling import make_profile
from ..engine.run_folder import RunFolder
from ..engine.schedule import settle_schedule
from ..engine.train import train
from ..engine.training_batches import training_preparation
from ..engine.validation import log_validation, resume_without_validation
from ..model.build import build_detector
from ..model.network import Network
from ..utils.device import keep_freed_memory, pick_dtype, seed_everything
from ..utils.distributed import collectives
from ..utils.download.disk import amount, free_space
from ..utils.monitoring.logs import setup_logging
from ..utils.monitoring.slow_steps import slow_step
from ..utils.monitoring.trackers import check_trackers
from ..utils.shared_cores import keep_threads, share_cores
from ..weights.checkpoint import load_checkpoint
from ..weights.initial import load_first_weights
from .command_line import Job, make_job, run_parent
from .data_sets import DataSets, read_data_sets
from .processes import join_processes
from .user_errors import clear_errors

logger = logging.getLogger(__name__)


class _Plan(NamedTuple):
    """A training run whose settings and data are checked."""

    job: Job
    run: RunFolder
    sets: DataSets
    lines: list[str]


def main(arguments: argparse.Namespace) -> None:
    """Check settings and data, build the detector, train it, and test it."""
    share_cores()
    with clear_errors():
        train_and_test(arguments)


def train_and_test(
    arguments: argparse.Namespace, callbacks: Sequence[Callback] = ()
) -> RunFolder:
    """Do what the arguments ask for, and return the folder of the run.

    Args:
        arguments: of ``frcnn train``.

    Raises:
        ValueError: a setting or a data set is invalid; the message says what to change.
        Exception: see `engine.train.train`.
    """
    keep_freed_memory()
    join_processes(arguments)
    plan = _plan(arguments)
    run = plan.run
    if arguments.dry_run:
        _log_plan(plan)
        _dry_run(plan, arguments.picture)
        return run
    if collectives.is_main():
        run.claim(plan.job.config, extend=arguments.extend)
        setup_logging(run.log_file)
    try:
        collectives.barrier()
        _log_plan(plan)
        _train(plan, arguments, callbacks)
        if not arguments.no_test:
            _test(plan)
    finally:
        run.release()
    return run


def _dry_run(plan: _Plan, picture: Path | None) -> None:
    job, model = plan.job, _build(plan)
    if collectives.is_main():
        dry_run(
            model,
            plan.sets.train,
            job.config,
            device=job.device,
            dtype=job.dtype,
            picture=picture or plan.run.path / "first_batch.jpg",
        )


def _train(
    plan: _Plan, arguments: argparse.Namespace, callbacks: Sequence[Callback]
) -> None:
    job, run, sets, _ = plan
    model, device, dtype = _build(plan), job.device, job.dtype
    _check_disk_space(run, model, job.config)
    profile = make_profile(arguments, run.path, device=device)
    with memory_advice(model, job.config, device=device, dtype=dtype):
        train(
            model,
            sets.train,
            job.config,
            run,
            dtype=dtype,
            profile=profile,
            validation_set=sets.validation,
            callbacks=callbacks,
        )


def _check_disk_space(run: RunFolder, model: Network, config: Config) -> None:
    """Warn if the run's checkpoints will not fit onto the disk."""
    # One more while the oldest is not deleted yet, and the best one.
    count = config.train.snapshots_kept + 1 + bool(config.train.validate_every)
    there = len(run.checkpoints())
    each = sum(state_bytes(model, config.train))
    needed, free = (count - min(there, count)) * each, free_space(run.path)
    if needed > free and collectives.is_main():
        logger.warning(
            "%s: expected %s of free space for %d checkpoints, found %s; free some, or "
            "lower train.snapshots_kept",
            *(run.path, amount(needed), count, amount(free)),
        )


def _test(plan: _Plan) -> None:
    """Test the best checkpoint, or the final one, and say what to do next."""
    job, run, sets, _ = plan
    final = run.best_or_newest()
    state = load_checkpoint(final)
    evaluation = evaluate_checkpoint(
        run, final, state, sets.test, job.config, device=job.device
    )
    if evaluation is not None:
        _log_next_steps(final, evaluation.headline)


def _plan(arguments: argparse.Namespace) -> _Plan:
    """Settle the configuration of the run, and read its data sets."""
    job = make_job(arguments)
    config = job.config
    parent = run_parent(arguments.output, config.net.full_name, config.data.train_set)
    run = RunFolder(parent / job.tag)
    recorded = collectives.from_main(run.recorded_config())
    if arguments.resume and not collectives.from_main(bool(run.checkpoints())):
        raise ValueError(
            f"--resume: expected a checkpoint in {run.path}, found none; give the "
            "settings or the --tag of the run to continue, or leave out --resume to "
            "begin a new run"
        )
    if arguments.extend:
        if arguments.tag is None:
            raise ValueError("--extend needs --tag, the name of the run to continue")
        config = extended_config(recorded, config, job.given)
    check_trackers(config.train.trackers)
    config = resume_without_validation(config, job.given, recorded)
    sets = read_data_sets(job.dataset, config)
    config = with_keypoints_of(sets.train, config, job.given)
    config, fitted = fit_to_data(
        config, sets.train, fixed=job.fixed, recorded=recorded, fits=_fits(job, sets)
    )
    training_preparation(sets.train, config)
    if sets.validation is not None:
        wanted_instances(sets.validation, config)
    if not arguments.no_test:
        settle_measure(config, None)
    if config.net.reads_proposals:
        proposal_file(config, "train")
    config, lines = settle_schedule(
        config,
        processes=collectives.process_rank().processes,
        given=job.given,
        recorded=recorded,
        train_images=len(sets.train.records),
    )
    lines = fitted + lines + describe_balance(sets.train, config)
    if arguments.extend and recorded is not None:
        done = collectives.from_main(run.iterations_saved())
        lines += describe_extension(recorded, config, done)
    dtype = pick_dtype(config.train.precision, job.device)
    return _Plan(job._replace(config=config, dtype=dtype), run, sets, lines)


def _fits(job: Job, sets: DataSets) -> Callable[[Config], bool]:
    """Return a function that tells whether a step fits into the GPU's memory."""

    def fits(config: Config) -> bool:
        dtype = pick_dtype(config.train.precision, job.device)
        classes = len(sets.train.classes)
        return collectives.from_main(
            fits_memory(config, classes=classes, device=job.device, dtype=dtype)
        )

    return fits


def _log_plan(plan: _Plan) -> None:
    job, run, sets, lines = plan
    processes = collectives.process_rank().processes
    logger.info("run folder: %s", run.path)
    logger.info("recipes: %s", " + ".join(path.name for path in job.recipes))
    logger.info(
        "%s: %d images, %d classes; on %s in %s",
        sets.train.name,
        len(sets.train.records),
        len(sets.train.classes) - 1,
        job.device if processes == 1 else f"{processes} x {job.device.type}",
        str(job.dtype).removeprefix("torch."),
    )
    log_validation(job.config, sets.validation, sets.test)
    for line in lines:
        logger.info("%s", line)
    for concern in sets.concerns:
        logger.warning("%s", concern)


def _log_next_steps(checkpoint: Path, headline: tuple[str, float]) -> None:
    """Say where the trained detector is, how good it is, and what to do with it."""
    name, value = headline
    path = shlex.quote(os.path.relpath(checkpoint))
    logger.info("the detector is %s, %s %.3f; next:", path, name, value)
    for command in ("detect {} PICTURES", "demo {} --serve", "export {} --to onnx"):
        logger.info("  frcnn %s", command.format(path))


def _build(plan: _Plan) -> Network:
    """Build the detector on its device; load initial weights unless the run resumes."""
    config, classes = plan.job.config, plan.sets.train.classes
    if config.train.deterministic:
        be_deterministic(plan.job.device)
        keep_threads()
    seed_everything(config.train.seed)
    with slow_step(f"building {config.net.full_name}"):
        model = build_detector(config, len(classes))
        if collectives.from_main(not plan.run.checkpoints()):
            with collectives.main_first():
                load_first_weights(model, config, classes)
    return model.to(plan.job.device)
