"""A trained detector: pictures in, results out."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ..config.loading import Config, TestConfig
from ..datasets.loading.batches import collate
from ..inference.inference import detect_views, to_image_detections
from ..inference.test_time_augmentation import view_sizes
from ..model.faster_rcnn import FasterRCNN
from ..utils.device import pick_device, pick_dtype
from ..utils.forking import forks, survive_forks
from .batching import Prepared, in_order, of_like_shape, to_sample
from .inputs import ImageInput, as_images, is_one_image, to_pixels
from .opening import find_checkpoint, open_detector
from .result import Result, class_labels

_PRECISIONS = ("auto", "float32", "bfloat16")


class Detector:
    """A trained detector.

    Nothing of it changes with a call, so any number of threads may share it. So may
    forked processes if it runs on the CPU uncompiled, each in one thread.

    Attributes:
        model: the network, in evaluation mode.
        config: of the run, with overrides.
        classes: the C names, background first.
        device: where the network runs.
        dtype: type that it computes in.
    """

    def __init__(
        self,
        model: FasterRCNN,
        config: Config,
        classes: Sequence[str],
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        survive_forks()
        self._forks = forks()
        model = model.to(memory_format=torch.channels_last).to(device)
        self.model = model.requires_grad_(False).eval()
        self.config = config
        self.classes = tuple(classes)
        self.device = device
        self.dtype = dtype

    @classmethod
    def from_checkpoint(
        cls,
        path_or_name: str | Path,
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        compile: bool = False,
        overrides: Sequence[str] = (),
    ) -> "Detector":
        """Open a trained detector.

        Args:
            path_or_name: a checkpoint, or another program's detector that the importers
                read; the folder of a run, of which the best checkpoint is taken, or the
                newest if there was no validation; or a name of the model zoo, which is
                fetched once.
            device: ``auto`` (CUDA, then MPS, then the CPU), ``cuda``, ``mps``, ``cpu``,
                or a device of PyTorch's.
            precision: ``float32``, ``bfloat16``, or ``auto`` for what the run was
                trained in.
            compile: have PyTorch compile the network, for sizes of all kinds; the first
                calls then take long.
            overrides: settings on top of the checkpoint's, ``SECTION.KEY`` and value in
                turn, as after ``--set``: ``["test.nms_threshold", "0.5"]``.

        Raises:
            CheckpointError: the file is missing, damaged or no checkpoint.
            ConfigError: an override is not valid.
            ValueError: another argument is not.
        """
        if precision not in _PRECISIONS:
            raise ValueError(
                f"expected a precision of {', '.join(_PRECISIONS)}, found {precision!r}"
            )
        if not isinstance(device, torch.device):
            device = pick_device(device)
        from ..weights.zoo import open_checkpoint  # tells formats apart, with importers

        checkpoint = find_checkpoint(path_or_name)
        state = open_checkpoint(checkpoint)
        model, config, classes = open_detector(checkpoint, state, overrides)
        if precision == "auto":
            precision = config.train.precision
        dtype = pick_dtype(precision, device)
        detector = cls(model, config, classes, device=device, dtype=dtype)
        if compile:
            detector.model.compile(dynamic=True)
        return detector

    def __call__(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        score_threshold: float | None = None,
        classes: Sequence[str] | None = None,
        batch_size: int | None = None,
        exif: bool = True,
    ) -> Result | list[Result]:
        """Detect objects in one picture or several.

        Pictures of like shape go through the network together, so that little of a
        batch is padding; see `stream` for more of them than memory holds results.

        Args:
            images: a picture or several, of kinds and sizes that may differ: paths of
                files; uint8 arrays ``(H, W, 3)`` RGB, ``(H, W, 4)`` or grey ``(H, W)``;
                PIL images; tensors ``(3, H, W)``, uint8 or floats from 0 to 1, or a
                batch ``(N, 3, H, W)`` of them.
            score_threshold: scores must exceed it; None: that of the configuration,
                ``test.score_threshold``, with which detectors are measured.
            classes: names of those that are wanted; None: all.
            batch_size: pictures in one pass of the network; None: ``test.batch_size``.
            exif: turn files and PIL images upright as their EXIF data says, as viewers
                do. Boxes are pixels of the picture so turned. (Data sets are always
                taken as stored, for annotations refer to that.)

        Returns:
            The result of a single picture, else a list in the pictures' order.

        Raises:
            ImageError: a file cannot be read; the message names it.
            ValueError: a picture of unknown kind, an unknown class, a bad number.
            RuntimeError: the process was forked since, and the detector is on a GPU or
                compiled.
        """
        call = self._check(score_threshold, classes, batch_size, exif)
        prepared = self._prepare(as_images(images), call)
        found: dict[int, Result] = {}
        for group in of_like_shape(prepared, call.batch_size):
            for item, result in zip(group, self._detect(group, call), strict=True):
                found[item.number] = result
        results = [found[number] for number in range(len(found))]
        return results[0] if is_one_image(images) else results

    def stream(
        self,
        images: Iterable[ImageInput],
        *,
        score_threshold: float | None = None,
        classes: Sequence[str] | None = None,
        batch_size: int | None = None,
        exif: bool = True,
    ) -> Iterator[Result]:
        """Detect objects in pictures without end, such as a long folder or a video.

        Of the pictures and their results a batch is held at a time.

        Args:
            images: taken a batch at a time, when its first result is asked for.
            score_threshold: as of a call.
            classes: as of a call.
            batch_size: as of a call.
            exif: as of a call.

        Returns:
            An iterator of results in the pictures' order.

        Raises:
            ImageError: as of a call, in the iterator's turn.
            ValueError: the same.
        """
        call = self._check(score_threshold, classes, batch_size, exif)
        prepared = self._prepare(as_images(images), call)
        return self._results(prepared, call)

    def _results(self, prepared: Iterable[Prepared], call: "_Call") -> Iterator[Result]:
        for group in in_order(prepared, call.batch_size):
            yield from self._detect(group, call)

    def _check(
        self,
        score_threshold: float | None,
        classes: Sequence[str] | None,
        batch_size: int | None,
        exif: bool,
    ) -> "_Call":
        """Check the arguments of a call, and return what it asks for.

        Raises:
            ValueError: an argument is invalid.
            RuntimeError: the detector cannot work in this process.
        """
        self._expect_usable()
        test = self.config.test
        if batch_size is None:
            batch_size = test.batch_size
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"expected a batch_size of 1 or more, found {batch_size}")
        if score_threshold is not None:
            if not 0 <= score_threshold <= 1:
                raise ValueError(
                    f"expected a score_threshold from 0 to 1, found {score_threshold}"
                )
            # What scores less may still take part where boxes are averaged: a higher
            # threshold leaves some of the same detections, a lower one finds more.
            least = min(float(score_threshold), test.score_threshold)
            test = test.model_copy(update={"score_threshold": least})
        if classes is not None:
            class_labels(classes, self.classes)
        return _Call(test, score_threshold, classes, batch_size, exif)

    def _expect_usable(self) -> None:
        """Refuse at once what would wait for the threads of another process.

        Raises:
            RuntimeError: the process was forked since, and the detector is on a GPU or
                compiled.
        """
        compiled = getattr(self.model, "_compiled_call_impl", None) is not None
        if forks() <= self._forks or not (compiled or self.device.type != "cpu"):
            return
        kind = "compiled" if compiled else f"on {self.device.type}"
        raise RuntimeError(
            f"expected a detector of this process, found one that is {kind} and was "
            "opened before a fork; open it in each process, and start these by "
            "multiprocessing's spawn, or gunicorn without --preload (docs/inference.md)"
        )

    def _prepare(
        self, images: Iterable[ImageInput], call: "_Call"
    ) -> Iterator[Prepared]:
        """Read and resize one picture after the other, as data sets are."""
        sizes = view_sizes(self.config.data, call.test)
        for number, image in enumerate(images):
            pixels = to_pixels(image, exif=call.exif, name=f"image {number}")
            samples = [to_sample(pixels, *size) for size in sizes]
            path = Path(image) if isinstance(image, str | os.PathLike) else None
            yield Prepared(number, samples, path)

    def _detect(self, group: Sequence[Prepared], call: "_Call") -> list[Result]:
        """Run the network on one batch, at each scale of the configuration."""
        multiple, boxes = self.config.data.size_multiple, self.config.boxes
        views = [
            collate(samples, size_multiple=multiple)
            for samples in zip(*(item.samples for item in group), strict=True)
        ]
        detections = detect_views(
            self.model,
            [view.to(self.device) for view in views],
            boxes=boxes,
            test=call.test,
            dtype=self.dtype,
        )
        entries = to_image_detections(
            detections, views[0].image_ids, offset=boxes.offset
        )
        return [
            Result(
                boxes=torch.from_numpy(entry.boxes),
                scores=torch.from_numpy(entry.scores),
                labels=torch.from_numpy(entry.classes),
                size=item.samples[0].original_size,
                path=item.path,
                class_names=self.classes,
                exif=call.exif,
            ).filter(call.score_threshold, call.classes)
            for item, entry in zip(group, entries, strict=True)
        ]


class _Call(NamedTuple):
    """The options of a call.

    Attributes:
        test: thresholds and limits, with a threshold low enough for the call.
        score_threshold: that results must exceed; None for all.
        classes: names that are wanted.
        batch_size: pictures per pass.
        exif: whether to turn pictures upright.
    """

    test: TestConfig
    score_threshold: float | None
    classes: Sequence[str] | None
    batch_size: int
    exif: bool
