"""Record a training run: progress, metrics, TensorBoard."""

import logging
import math

import torch

from ..config.settings import Config
from ..datasets.loading.batches import Batch
from ..inference.batch_pictures import (
    Skeleton,
    detections_picture,
    ground_truth_picture,
    proposals_picture,
)
from ..inference.postprocess import detect_batch
from ..layer_utils.outputs import TrainOutput
from ..layer_utils.structures import Detections, map_tensors
from ..model.network import Network
from ..utils.closeable import Closeable
from ..utils.device import autocast
from ..utils.monitoring.async_scalars import AsyncScalars
from ..utils.monitoring.progress import EARLY, Progress, memory_in_use_mb
from ..utils.monitoring.summaries import MetricsFile, Summaries
from ..utils.monitoring.trackers import Trackers
from ..weights.checkpoint import Counts
from .batch_gradient import Update
from .run_folder import RunFolder

logger = logging.getLogger(__name__)

_MOST_PROBLEMS_LOGGED = 10


class LoadingFaults:
    """Log what is missing from the batches of this process.

    These are the first images that cannot be read, and the number of objects that
    transforms lose, at each power of ten.
    """

    def __init__(self) -> None:
        self._told = 0
        self._objects = self._lost = 0
        self._next = 10

    def tell(self, batch: Batch) -> None:
        """Log what a batch lacks."""
        problems = batch.problems
        for problem in problems[: max(0, _MOST_PROBLEMS_LOGGED - self._told)]:
            logger.warning("replaced by another image: %s", problem)
        self._told += len(problems)
        if not batch.lost and not self._lost:
            return
        self._lost += batch.lost
        self._objects += batch.lost + int(batch.ground_truth.valid.sum())
        if self._lost >= self._next:
            self._next = 10 * self._next
            logger.info(
                "augmentation: %d of %d objects lost so far, by data.transforms "
                "(outside the image, or less than data.min_visible left) or hidden by "
                "data.copy_paste",
                self._lost,
                self._objects,
            )


class TrainRecord(Closeable):
    """Progress line, metrics.jsonl, TensorBoard and trackers of one run.

    Args:
        start: updates done before.
        counts: counters of the run, kept by the training loop; None for zeros.
        skeleton: pairs of keypoints that pictures connect.
    """

    def __init__(
        self,
        run: RunFolder,
        config: Config,
        classes: tuple[str, ...],
        *,
        start: int,
        counts: Counts | None = None,
        skeleton: Skeleton = (),
    ) -> None:
        self.run = run
        self.skeleton = skeleton
        self.counts = counts or Counts()
        self.settings = config.train
        self.config = config
        self.classes = classes
        self.progress = Progress(
            config.train.iterations,
            start=start,
            log_every=config.train.log_every,
            early=True,
        )
        self.start = start
        self._open(start)
        self.trackers = Trackers(
            config.train.trackers, run.path, config=config.model_dump(mode="json")
        )
        self.waited = 0.0
        self.readback = AsyncScalars()

    def _open(self, done: int) -> None:
        self.metrics = MetricsFile(self.run.metrics_file, start=done)
        # Also at the start: a run may have ended before its first checkpoint.
        self.summaries = Summaries(self.run.tensorboard, purge_step=done + 1)
        self.summaries.text("config", self.config.to_yaml(), done)

    def reopen(self, done: int) -> None:
        """Continue in new files after ``done`` updates; the old ones were deleted."""
        self.readback.flush()
        self.metrics.close()
        self.summaries.close()
        self._open(done)

    def close(self) -> None:
        """Close the progress line and the files. Safe to call twice."""
        self.readback.flush()
        self.progress.close()
        self.metrics.close()
        self.summaries.close()
        self.trackers.close()

    def flush(self) -> None:
        """Write the curves to disk, as the lines of metrics.jsonl always are."""
        self.readback.flush()
        self.summaries.flush()

    def skip(self, done: int, *, images: int, waited: float) -> None:
        """Record that an update was skipped: only its time counts."""
        self.readback.flush()
        self.waited += waited
        self.progress.update(done, images=images)

    def step(
        self,
        done: int,
        model: Network,
        batch: Batch,
        update: Update,
        *,
        images: int,
        rate: float,
        waited: float,
        dtype: torch.dtype,
    ) -> None:
        """Record an update: numbers every ``log_every``, images more rarely.

        Args:
            done: updates done.
            model: in training mode; the mode is kept.
            batch: batch of this update, or a part of it.
            images: number of images of the whole update.
            waited: seconds spent waiting for the batch.
        """
        self.readback.flush()
        self.waited += waited
        kept = done % self.settings.log_every == 0 or done == self.settings.iterations
        if not kept and done - self.start not in EARLY:
            self.progress.update(done, images=images)
            return
        output, losses = update.output, update.output.losses
        loss = torch.stack(list(losses.values())).sum()
        values = {"loss": loss, **losses}
        if not kept:
            self.readback.send(  # the files do not keep an early update
                values,
                lambda found: self.progress.update(
                    done, images=images, values=found | {"lr": rate}
                ),
            )
            return
        values |= {"gradient_norm": update.norm, **output.counts}
        known = {"lr": rate, "unreadable_images": float(self.counts.unreadable_images)}
        if self.settings.nonfinite == "skip":
            known["skipped_updates"] = float(self.counts.skipped_updates)
        speed = {"waiting_seconds": self.waited / self.settings.log_every}
        self.waited = 0.0
        tags = {name: _tag(name, output) for name in (*values, *known)}

        def write(found: dict[str, float]) -> None:
            if not all(map(math.isfinite, found.values())):
                return  # the run ends as soon as the loop reads these numbers
            numbers = found | known
            shown = {name: numbers[name] for name in ("loss", *losses, "lr")}
            self.progress.update(done, images=images, values=shown)
            self.metrics.append(done, numbers)
            _, rate_of_images = self.progress.rates()
            if math.isfinite(rate_of_images):  # not in the first few updates
                speed["images_per_second"] = rate_of_images
            curves = (
                {tags[name]: value for name, value in numbers.items()}
                | {f"speed/{name}": value for name, value in speed.items()}
                | {f"memory/{kind}_mb": mb for kind, mb in memory_in_use_mb().items()}
            )
            self.summaries.scalars(curves, done)
            self.trackers.scalars(curves, done)

        self.readback.send(values, write)
        if self._due(done, self.settings.picture_every):
            self._pictures(done, model, batch, dtype)
        if self._due(done, self.settings.histogram_every):
            self.summaries.histograms(output.activations, done)
            self.summaries.histograms(
                {
                    f"weights/{name}": parameter
                    for name, parameter in model.named_parameters()
                    if parameter.requires_grad and parameter.dim() > 1
                },
                done,
            )

    def validation(self, done: int, numbers: dict[str, float], line: str) -> None:
        """Record a validation after ``done`` updates; ``line`` is for the log."""
        self.readback.flush()
        logger.info("%s", line)
        self.metrics.append(done, numbers)
        self.summaries.scalars(numbers, done)
        self.trackers.scalars(numbers, done)

    def _due(self, done: int, every: int) -> bool:
        """Return whether a multiple of ``every`` is among the updates just logged."""
        return every > 0 and done % every < self.settings.log_every

    @torch.no_grad()
    def _pictures(
        self, done: int, model: Network, batch: Batch, dtype: torch.dtype
    ) -> None:
        """Draw the first image's ground truth, proposals and detections.

        Each is a picture of its own, of the size of the network input: TensorBoard
        shrinks what is wider than its column.
        """
        offset = self.config.boxes.offset
        first = _first_image(batch)
        model.eval()
        with autocast(first.images.pixels.device, dtype):
            found = model(first.images, **first.given)
        proposals = found.proposals if model.detects else found
        pictures = {
            "ground_truth": ground_truth_picture(
                first.images,
                first.ground_truth,
                0,
                self.classes,
                offset=offset,
                skeleton=self.skeleton,
            ),
            "proposals": proposals_picture(first.images, proposals, 0, offset=offset),
        }
        if model.detects:
            detections = self._detections(model, first, dtype)
            pictures["detections"] = detections_picture(
                first.images,
                detections,
                0,
                self.classes,
                offset=offset,
                threshold=self.config.test.picture_threshold,
                skeleton=self.skeleton,
            )
        model.train()
        for name, picture in pictures.items():
            self.summaries.images(f"pictures/{name}", picture, done)

    def _detections(
        self, model: Network, batch: Batch, dtype: torch.dtype
    ) -> Detections:
        """Compute detections in pixels of the network input."""
        detections = detect_batch(
            model, batch, boxes=self.config.boxes, test=self.config.test, dtype=dtype
        )
        scale = batch.scales.to(detections.boxes.device)[:, None, None]
        points = detections.keypoints
        if points is not None:
            places = points[..., :2] * scale[..., None]
            points = torch.cat((places, points[..., 2:]), dim=3)
        return detections._replace(boxes=detections.boxes * scale, keypoints=points)


def _first_image(batch: Batch) -> Batch:
    first = map_tensors(batch, lambda tensor: tensor[:1])
    return first._replace(image_ids=batch.image_ids[:1])


def _tag(name: str, output: TrainOutput) -> str:
    """Return a curve's tag; TensorBoard groups curves by the part before the slash."""
    if name == "loss" or name in output.terms:
        return f"loss/{'total' if name == 'loss' else name}"
    if name in output.counts:
        return f"samples/{name}"
    return f"train/{name}"
