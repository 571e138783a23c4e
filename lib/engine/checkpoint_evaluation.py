"""Test a checkpoint: its detections, or its proposals alone."""

import logging
from pathlib import Path
from typing import Any, TypedDict

import torch

from ..config.loading import config_from_checkpoint, differences
from ..config.settings import Config
from ..datasets.given_proposals import proposal_file
from ..datasets.records import Dataset
from ..evaluation.results_summary import Evaluation, Measure
from ..inference.detector_evaluation import EvaluationOptions, evaluate_detector
from ..inference.proposal_evaluation import measure_proposals, with_many_proposals
from ..model.build import build_detector
from ..model.network import Network
from ..utils.device import pick_dtype
from ..utils.monitoring.logs import FILE_ONLY
from ..utils.monitoring.summaries import Summaries
from ..utils.monitoring.trackers import Trackers
from ..utils.printable import show
from ..utils.shape_only import WithoutDraws
from ..weights.checkpoint import detector_weights
from ..weights.class_names import class_places
from .run_folder import RunFolder, settings_name

logger = logging.getLogger(__name__)


def evaluate_checkpoint(
    run: RunFolder,
    checkpoint: Path,
    state: dict[str, Any],
    dataset: Dataset,
    config: Config,
    *,
    device: torch.device,
    measure: Measure | None = None,
    options: EvaluationOptions = EvaluationOptions(),  # noqa: B008  (immutable)
) -> Evaluation | None:
    """Test a checkpoint, print the table, and add the figures to TensorBoard.

    Args:
        measure: detections or proposals; if None, the output of the checkpoint's
            network.
        options: options of the evaluation, without ``places``.

    Returns:
        The evaluation of detections; None for proposals, and on other processes.

    Raises:
        ValueError: the checkpoint has other classes, or its network does not compute
            the measured output, or lacks the proposals that it needs.
    """
    measure = settle_measure(config, measure)
    classes = tuple(state["classes"])
    options = for_classes(options, classes, dataset, source=checkpoint)
    counts = state.get("class_images")  # which earlier checkpoints do not have
    if isinstance(counts, list) and all(type(count) is int for count in counts):
        known = dict(zip(classes[1:], counts[1:], strict=False))
        options = options._replace(train_images=known)
    settings = _other_settings(config, config_from_checkpoint(state, []))
    if measure != "detection":
        config = with_many_proposals(config)
    model = _load_detector(checkpoint, state, config).to(device)
    place: _Place = {
        "folder": run.folder_of_test(dataset.name, checkpoint, settings),
        "device": device,
        "dtype": pick_dtype(config.train.precision, device),
        "checkpoint": checkpoint.name,
    }
    if measure != "detection":
        result = measure_proposals(
            model, dataset, config, evaluator=options.evaluator, **place
        )
        if result is not None:
            show_table(result.table())
            logger.info("proposals and their recall are in %s", place["folder"])
        return None
    evaluation = evaluate_detector(model, dataset, config, options=options, **place)
    if evaluation is None:  # only the main process has a result
        return None
    kind = f"test {settings}" if settings else "test"  # curves of their own
    results = {f"{kind}/{name}": v for name, v in evaluation.scalars().items()}
    with Summaries(run.tensorboard) as summaries:
        summaries.scalars(results, state["iteration"])
    with Trackers(config.train.trackers, run.path) as trackers:
        trackers.scalars(results, state["iteration"])
    show_table(evaluation.table())
    logger.info("detections, results and pictures are in %s", place["folder"])
    return evaluation


def for_classes(
    options: EvaluationOptions,
    classes: tuple[str, ...],
    dataset: Dataset,
    *,
    source: object,
) -> EvaluationOptions:
    """Return the options to evaluate a detector of these classes on a data set.

    Raises:
        ValueError: the detector of ``source`` does not know all classes of the set.
    """
    places = class_places(classes, dataset.classes)
    if places is None:
        raise ValueError(
            f"{source} knows the classes {', '.join(classes[1:])}, but {dataset.name} "
            f"has {', '.join(dataset.classes[1:])}; test it on a set of classes that "
            "it knows"
        )
    return options if classes == dataset.classes else options._replace(places=places)


class _Place(TypedDict):
    """Arguments that tests of detections and of proposals share."""

    folder: Path
    device: torch.device
    dtype: torch.dtype
    checkpoint: str


def _load_detector(checkpoint: Path, state: dict[str, Any], config: Config) -> Network:
    """Build the detector with the weights to test: the averaged ones, if any."""
    with WithoutDraws():
        model = build_detector(config, len(state["classes"]))
    try:
        model.load_state_dict(detector_weights(state, averaged=config.train.ema > 0))
    except RuntimeError as error:
        raise ValueError(
            f"{checkpoint} does not fit the network that its configuration and --set "
            f"describe; leave out what changes the network: {error}"
        ) from error
    return model


def _other_settings(config: Config, stored: Config) -> str:
    """Name the settings in which a test differs from the checkpoint's own.

    The names of sets are left out: each set has its own folder of tests.
    """
    sets = ("data.train_set", "data.test_set", "data.val_set")
    differing = differences(config, stored)
    return settings_name(**{k: v for k, (_, v) in differing.items() if k not in sets})


def show_table(table: str) -> None:
    """Print a table for other programs to read, and keep it in the log."""
    show(table)
    logger.info("\n%s", table, extra=FILE_ONLY)


def settle_measure(config: Config, measure: Measure | None) -> Measure:
    """Return the measure of a test: by default, the one for the network's output.

    Raises:
        ValueError: the network does not compute the requested output, or the
            configuration does not name its proposals.
    """
    net = config.net
    if measure is None:
        measure = "detection" if net.detects else "proposal"
    if measure == "detection" and not net.detects:
        raise ValueError(
            "a region proposal network alone (net.modules rpn) computes no detections; "
            "leave out --eval, or give --eval proposal"
        )
    if measure != "detection" and net.reads_proposals:
        raise ValueError(
            "Fast R-CNN alone (net.modules fast_rcnn) computes no proposals; measure "
            "the file of its proposals with frcnn reval"
        )
    if measure != "detection" and not net.proposes:
        raise ValueError(
            f"{net.full_name} has one stage and computes no proposals; leave out --eval"
        )
    if net.reads_proposals:
        proposal_file(config, "test")
    return measure
