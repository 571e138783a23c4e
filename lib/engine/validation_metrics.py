"""Metrics of a validation: losses and AP from one pass over the images.

Letters: L losses.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, cast

import numpy as np
import torch

from ..config.settings import Config
from ..datasets.formats.proposals import GivenProposals
from ..datasets.index.indexed_records import as_records
from ..datasets.loading.batches import Batch
from ..datasets.loading.loader import Loading
from ..datasets.records import Dataset
from ..datasets.wanted_instances import wanted_instances
from ..evaluation.image_detections import ImageDetections
from ..evaluation.proposal_recall import ImageProposals, evaluate_proposals
from ..evaluation.scoring import evaluate
from ..evaluation.tasks import CocoParameters, coco_parameters
from ..inference.image_results import ImageResults
from ..inference.ordered_batches import ordered_batches
from ..inference.postprocess import detections_of
from ..inference.proposal_evaluation import to_image_proposals
from ..inference.test_time_augmentation import tiling_of
from ..layer_utils.outputs import Predictions
from ..layer_utils.structures import Proposals
from ..model.network import Network
from ..utils.device import autocast
from ..utils.distributed import collectives
from ..utils.monitoring.progress import Progress

_QUOTED_RECALL = "AR@1000"


class ValidationMetrics(NamedTuple):
    """Results of a validation.

    Attributes:
        losses: means over the samples of all images, by name.
        scores: AP and related metrics by name; average recall for a proposal network.
        headline: name and value of the number to quote; NaN if there are no objects.
    """

    losses: dict[str, float]
    scores: dict[str, float]
    headline: tuple[str, float]

    @property
    def loss(self) -> float:
        """Return the sum of the losses."""
        return math.fsum(self.losses.values())

    def figure(self, best_by: str) -> float:
        """Return the figure, larger is better, of a value of ``train.best_by``."""
        if best_by == "loss":
            return -self.loss
        if best_by == "ap":
            return self.headline[1]
        return self.scores.get(f"{best_by}/AP", math.nan)

    def numbers(self) -> dict[str, float]:
        """Return all metrics, by their names in metrics.jsonl and TensorBoard."""
        numbers = {"loss": self.loss, **self.losses, **self.scores}
        return {f"val/{name}": value for name, value in numbers.items()}


class _BatchMeasures(NamedTuple):
    """Contribution of a batch.

    Attributes:
        detections: detections of its images; for a proposal network, proposals.
        losses: by name, the sum over the samples, and their number.
    """

    detections: list[ImageDetections] | list[ImageProposals]
    losses: dict[str, tuple[float, float]]


def measure(
    model: Network,
    dataset: Dataset,
    config: Config,
    *,
    device: torch.device,
    dtype: torch.dtype,
    stop_requested: Callable[[], object] = lambda: False,
    proposals: GivenProposals | None = None,
) -> ValidationMetrics | None:
    """Validate a detector on a data set, in several processes as in one.

    Args:
        model: the detector; it is put into evaluation mode.
        stop_requested: called before each batch.
        proposals: proposals of the data set, for Fast R-CNN alone.

    Returns:
        The same on all processes; None if any was asked to stop.

    Raises:
        ImageError: an image cannot be read.
    """
    place = collectives.process_rank()
    batches = ordered_batches(
        dataset.records,
        config,
        loading=Loading(config.data.workers, device.type == "cuda"),
        share=(place.rank, place.processes),
        proposals=proposals,
        instances=wanted_instances(dataset, config),
        tiling=tiling_of(config.test) if model.detects else None,
    )
    results = ImageResults(config.boxes, config.test)
    found: list[_BatchMeasures] = []
    stopped = False
    model.eval()
    for turn, batch in enumerate(_shown(batches, len(dataset.records))):
        if stop_requested():
            stopped = True
            break
        # Always the same samples, whichever process draws them.
        number = turn * place.processes + place.rank
        sequence = np.random.SeedSequence((config.train.seed, 3, number))
        seed = int(sequence.generate_state(1, np.uint32)[0])
        generator = torch.Generator(device).manual_seed(seed)
        found.append(
            _measure_batch(
                model, batch.to(device), config, generator, results, dtype=dtype
            )
        )
    parts = collectives.gather((found, stopped))
    measures = None
    if collectives.is_main() and not any(stopped for _, stopped in parts):
        measures = _add_up(dataset, [found for found, _ in parts], config)
    return collectives.from_main(measures)


def _shown(batches: Iterable[Batch], total: int) -> Iterator[Batch]:
    """Show on a terminal how many of the images are done."""
    place = collectives.process_rank()
    with Progress(total, log_every=None) as progress:
        done, last = 0, ""
        for batch in batches:
            yield batch
            images = len(batch.image_ids)
            if batch.tiles:
                images = int(batch.image_ids[0] != last)
            last = batch.image_ids[0]
            if place.rank == 0:  # the shares of the other processes are as large
                images = min(images * place.processes, total - done)
                done += images
                progress.update(done, images=images)


@torch.no_grad()
def _measure_batch(
    model: Network,
    batch: Batch,
    config: Config,
    generator: torch.Generator,
    results: ImageResults,
    *,
    dtype: torch.dtype,
) -> _BatchMeasures:
    with autocast(batch.images.pixels.device, dtype):
        output, found = model.run(
            batch.images, batch.ground_truth, generator, batch.proposals, predict=True
        )
    assert output is not None and found is not None
    terms = output.terms.values()
    totals = torch.stack([loss.total for loss in terms]).float()
    counts = torch.stack([loss.count for loss in terms]).float()
    pairs = torch.stack((totals, counts), dim=1).tolist()  # (L, 2)
    losses = dict(zip(output.terms, map(tuple, pairs), strict=True))
    if not model.detects:
        proposals = cast(Proposals, found)
        offset = config.boxes.offset
        return _BatchMeasures(
            to_image_proposals(proposals, batch, offset=offset), losses
        )
    detections = detections_of(
        model, cast(Predictions, found), batch, boxes=config.boxes, test=config.test
    )
    return _BatchMeasures(results.add(detections, batch), losses)


def _add_up(
    dataset: Dataset, parts: list[list[_BatchMeasures]], config: Config
) -> ValidationMetrics:
    """Combine the metrics of all images in an order independent of the split."""
    images = [entry for part in parts for batch in part for entry in batch.detections]
    order = {name: i for i, name in enumerate(as_records(dataset.records).image_ids)}
    images.sort(key=lambda entry: order[entry.image_id])
    scores, headline = _scores(dataset, images, coco_parameters(config))

    by_name: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for part in parts:
        for batch in part:
            for name, pair in batch.losses.items():
                by_name[name].append(pair)
    losses = {}
    for name, pairs in by_name.items():
        # Exactly rounded sums do not depend on the order.
        total, count = (_sum(column) for column in zip(*pairs, strict=True))
        losses[name] = total / max(count, 1)
    return ValidationMetrics(losses, scores, headline)


def _scores(
    dataset: Dataset,
    images: list[ImageDetections | ImageProposals],
    parameters: CocoParameters,
) -> tuple[dict[str, float], tuple[str, float]]:
    """Compute AP of detections or average recall of proposals, and the headline."""
    proposals = [entry for entry in images if isinstance(entry, ImageProposals)]
    if proposals:
        result = evaluate_proposals(dataset, proposals)
        recalls = result.average_recall
        return recalls, (_QUOTED_RECALL, recalls[_QUOTED_RECALL])
    found = [entry for entry in images if isinstance(entry, ImageDetections)]
    evaluation = evaluate(dataset, found, parameters=parameters)
    return evaluation.scalars(), evaluation.headline


def _sum(values: tuple[float, ...]) -> float:
    """Return the exactly rounded sum, also of non-finite values."""
    return math.fsum(values) if all(map(math.isfinite, values)) else math.nan
