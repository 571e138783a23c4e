"""A trained detector: images in, results out."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy.typing as npt
import torch
from torch import Tensor

from ..config.settings import Config
from ..datasets.loading.batches import Batch, collate
from ..datasets.loading.images import Decoded
from ..datasets.loading.samples import Sample
from ..datasets.records import KeypointNames
from ..evaluation.image_detections import ImageDetections
from ..evaluation.score_thresholds import class_thresholds
from ..inference.box_vectors import embed_boxes, expect_box_head, network_boxes
from ..inference.postprocess import detect_images
from ..inference.test_time_augmentation import tiling_of, view_sizes
from ..model.network import Network
from ..utils.device import autocast, pick_device, pick_dtype
from ..utils.forking import forks, survive_forks
from ..weights.stored_keypoints import stored_keypoints
from .batching import Prepared, in_order, of_like_shape, to_sample
from .call_options import CallOptions, Threshold, limited_test
from .file_inputs import fit
from .from_checkpoint import find_checkpoint, open_detector
from .inputs import ImageInput, as_images, decode, is_one_image
from .result import Result, class_labels
from .running import FILE_SUFFIXES, Exported, load_exported

_PRECISIONS = ("auto", "float32", "bfloat16", "float16")


class Detector:
    """A trained detector.

    A call changes no state, so any number of threads may share a detector. Forked
    processes may share it too, each in one thread, if it is on the CPU and not
    compiled.

    Attributes:
        model: the network, in evaluation mode, or an exported file.
        config: configuration of the run, with overrides; of an exported file what is
            known of it.
        classes: the C class names, background first.
        keypoints: the K keypoints; None if it predicts none.
        device: device of the network.
        dtype: dtype of the computation.
        features: whether results have the features of each box (`Result.features`).
        all_scores: whether results have the probabilities of all classes.
    """

    def __init__(
        self,
        model: Network | Exported,
        config: Config,
        classes: Sequence[str],
        *,
        device: torch.device,
        dtype: torch.dtype,
        keypoints: KeypointNames | None = None,
        features: bool = False,
        all_scores: bool = False,
    ) -> None:
        survive_forks()
        self._forks = forks()
        if isinstance(model, Network):
            model = model.to(memory_format=torch.channels_last).to(device)
            model = model.requires_grad_(False).eval()
        self.model = model
        if features:
            network = self.expect_network()
            expect_box_head(network)
            network.keeps_features = True
        self.features = features
        self.all_scores = all_scores
        self.config = config
        self.classes = tuple(classes)
        # An unknown class is an error now, and not of each picture.
        class_thresholds(self.classes, 0, config.test.class_thresholds)
        self.device = device
        self.dtype = dtype
        self.keypoints = keypoints

    @classmethod
    def from_checkpoint(
        cls,
        path_or_name: str | Path,
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        compile: bool = False,
        overrides: Sequence[str] = (),
        features: bool = False,
        all_scores: bool = False,
    ) -> "Detector":
        """Load a trained detector.

        Args:
            path_or_name: a checkpoint, a file of ``frcnn export``, or another program's
                detector that the importers read; the folder of a run, whose best
                checkpoint is used, or its newest if there was no validation; or a name
                from the model zoo, which is downloaded once.
            device: ``auto`` (CUDA, then MPS, then the CPU), ``cuda``, ``mps``, ``cpu``,
                or a PyTorch device.
            precision: ``float32``, ``bfloat16``, ``float16``, or ``auto`` for the
                precision that the run was trained in.
            compile: compile the network with PyTorch, for dynamic sizes; the first
                calls then take long.
            overrides: overrides of the checkpoint's settings, ``SECTION.KEY`` and value
                in turn, as after ``--set``: ``["test.nms_threshold", "0.5"]``.
            features: add to results what the box head's predictor gets of each box.
            all_scores: add to results the probabilities of all classes.

        Raises:
            CheckpointError: the file is missing, damaged or not a checkpoint.
            ConfigError: an override is invalid.
            ValueError: another argument is invalid.
        """
        if precision not in _PRECISIONS:
            raise ValueError(
                f"expected a precision of {', '.join(_PRECISIONS)}, found {precision!r}"
            )
        checkpoint = find_checkpoint(path_or_name)
        if checkpoint.suffix in FILE_SUFFIXES:
            exported = load_exported(checkpoint)
            about = exported.about
            about.expect_options(
                device=str(device),
                precision=precision,
                compile=compile,
                overrides=[*overrides],
                features=features,
                all_scores=all_scores,
            )
            return cls(
                exported,
                about.config(),
                about.classes,
                device=torch.device(about.device),
                dtype=about.dtype,
                keypoints=about.keypoints,
            )
        if not isinstance(device, torch.device):
            device = pick_device(device)
        from ..weights.zoo import open_checkpoint  # recognises formats; imports much

        state = open_checkpoint(checkpoint)
        model, config, classes = open_detector(checkpoint, state, overrides)
        if precision == "auto":
            precision = config.train.precision
        dtype = pick_dtype(precision, device)
        names = stored_keypoints(state, config)
        detector = cls(
            model,
            config,
            classes,
            device=device,
            dtype=dtype,
            keypoints=names,
            features=features,
            all_scores=all_scores,
        )
        if compile:
            model.compile(dynamic=True)
        return detector

    @property
    def channels(self) -> int | None:
        """Return the channels of images that are read as stored; None for RGB."""
        if isinstance(self.model, Exported):
            return self.model.about.channels
        return self.config.net.raw_channels

    def __call__(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        score_threshold: Threshold = None,
        classes: Sequence[str] | None = None,
        batch_size: int | None = None,
        tiles: int | None = None,
        exif: bool = True,
    ) -> Result | list[Result]:
        """Detect objects in one image or several.

        Images of similar shape go through the network together, so that batches contain
        little padding. If the results do not fit the memory, see `stream`.

        Args:
            images: an image or several, whose types and sizes may differ: paths of
                files; uint8 arrays ``(H, W, 3)`` RGB, ``(H, W, 4)`` or grey ``(H, W)``;
                PIL images; tensors ``(3, H, W)``, uint8 or floats from 0 to 1, or a
                batch ``(N, 3, H, W)`` of them.
            score_threshold: scores must exceed it; by class name for several, such as
                `read_thresholds` returns. Of classes without one, and if None, the
                configuration's, which evaluations use: ``test.class_thresholds`` and
                ``test.score_threshold``.
            classes: names of the classes to return; if None, all classes.
            batch_size: images, or tiles, in one pass of the network; if None,
                ``test.batch_size``.
            tiles: sides in pixels of the tiles into which larger images are cut; if
                None, ``test.tiles``.
            exif: rotate files and PIL images upright by their EXIF data, as viewers do.
                Boxes are in pixels of the rotated image. (Data sets are always read as
                stored, because annotations refer to stored pixels.)

        Returns:
            The result of a single image, else a list in the order of the images.

        Raises:
            ImageError: a file cannot be read; the message names it.
            ValueError: an image has an unknown type, a class is unknown, or a number
                is invalid.
            RuntimeError: the process was forked since loading, and the detector is on a
                GPU or compiled.
        """
        call = self._call(score_threshold, classes, batch_size, tiles, exif)
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
        score_threshold: Threshold = None,
        classes: Sequence[str] | None = None,
        batch_size: int | None = None,
        tiles: int | None = None,
        exif: bool = True,
    ) -> Iterator[Result]:
        """Detect objects in any number of images, such as a long folder or a video.

        Only one batch of images and results is in memory at a time.

        Args:
            images: read a batch at a time, when its first result is requested.
            score_threshold: see `__call__`.
            classes: see `__call__`.
            batch_size: see `__call__`.
            tiles: see `__call__`.
            exif: see `__call__`.

        Returns:
            An iterator of results in the order of the images.

        Raises:
            ImageError, ValueError: see `__call__`; raised by the iterator.
        """
        call = self._call(score_threshold, classes, batch_size, tiles, exif)
        prepared = self._prepare(as_images(images), call)
        groups = in_order(prepared, call.batch_size)
        return (result for group in groups for result in self._detect(group, call))

    def read(self, path: Path, *, exif: bool = True) -> Decoded:
        """Read a file for calls, as they do: a large JPEG at a fraction of its size.

        Raises:
            ImageError: the file cannot be read.
        """
        finest = max(view_sizes(self.config.data, self.config.test))
        in_full = self.config.test.tiles is not None or isinstance(self.model, Exported)
        return self._decode(path, None if in_full else finest, exif)

    def prepare(
        self,
        image: ImageInput,
        *,
        number: int = 0,
        tiles: int | None = None,
        exif: bool = True,
        name: str = "image",
    ) -> Prepared:
        """Read and resize one image, as a call does, for `detect_prepared`.

        Args:
            image: see `__call__`.
            number: index of the image among others.
            tiles: see `__call__`.
            exif: see `__call__`.
            name: name of the image in error messages if it has no path.

        Raises:
            ImageError, ValueError: see `__call__`.
        """
        path = Path(image) if isinstance(image, str | os.PathLike) else None
        tiles = self.config.test.tiles if tiles is None else tiles
        sizes = view_sizes(self.config.data, self.config.test)
        if tiles is not None or isinstance(self.model, Exported):
            views = [self._decode(image, None, exif, name)] * len(sizes)
        else:
            views = [self._decode(image, size, exif, name) for size in sizes]
        item = Prepared(number, views[0].size, [], path)
        if isinstance(self.model, Exported):
            return item._replace(samples=[fit(views[0].pixels, self.model.about)])
        if tiles is not None and max(item.size) > tiles:
            return item._replace(stored=views[0])
        pairs = zip(views, sizes, strict=True)
        return item._replace(samples=[to_sample(view, *size) for view, size in pairs])

    def detect_prepared(
        self, prepared: Sequence[Prepared], *, score_threshold: Threshold = None
    ) -> list[Result]:
        """Detect objects in one batch of images that `prepare` returned.

        Args:
            prepared: images, which may come from different threads.
            score_threshold: see `__call__`.

        Returns:
            One result per image.
        """
        call = self._call(score_threshold)
        groups = in_order(prepared, max(len(prepared), 1))
        return [found for group in groups for found in self._detect(group, call)]

    @torch.inference_mode()
    def embed(
        self, image: ImageInput, boxes: npt.ArrayLike | Tensor, *, exif: bool = True
    ) -> Tensor:
        """Compute the features of given boxes, as of those that it detects itself.

        They are what the box head's predictor gets of a box. Those of
        ``result.boxes`` are ``result.features``, up to rounding.

        Args:
            image: an image of any type that a call supports.
            boxes: ``(D, 4)`` x1, y1, x2, y2, pixel edges of the image.
            exif: see `__call__`.

        Returns:
            ``(D, F)`` float32 on the CPU.

        Raises:
            ImageError: a file cannot be read.
            ValueError: the boxes are malformed, or the detector has no box head.
        """
        network = self.expect_network()
        expect_box_head(network)
        self._expect_usable()
        data, test = self.config.data, self.config.test
        size = view_sizes(data, test)[0]
        sample = to_sample(self._decode(image, size, exif), *size)
        batch = collate([sample], size_multiple=data.size_multiple).to(self.device)
        with autocast(self.device, self.dtype):
            maps = network.features(batch.images)
            edges = network_boxes(boxes, offset=self.config.boxes.offset)
            inside = edges[None].to(self.device) * sample.scale
            return embed_boxes(network, maps, inside)[0].cpu()

    def _call(
        self,
        score_threshold: Threshold = None,
        classes: Sequence[str] | None = None,
        batch_size: int | None = None,
        tiles: int | None = None,
        exif: bool = True,
    ) -> CallOptions:
        """Check the arguments of a call."""
        self._expect_usable()
        if tiles is not None:
            self.expect_network()
        if classes is not None:
            class_labels(classes, self.classes)
        test, limits = limited_test(
            self.config.test, self.classes, score_threshold, tiles
        )
        if batch_size is None:
            batch_size = test.batch_size
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"expected a batch_size of 1 or more, found {batch_size}")
        return CallOptions(test, limits, classes, batch_size, exif)

    def expect_network(self) -> Network:
        """Return the network.

        Raises:
            ValueError: the detector is an exported file.
        """
        if isinstance(self.model, Exported):
            raise ValueError(
                "expected a checkpoint for this, found an exported file, whose graph "
                "is fixed; load the checkpoint"
            )
        return self.model

    def _expect_usable(self) -> None:
        """Raise an error instead of waiting for the threads of another process."""
        if isinstance(self.model, Exported):
            kind = "an exported file"
        elif getattr(self.model, "_compiled_call_impl", None) is not None:
            kind = "compiled"
        else:
            kind = f"on {self.device.type}"
        if forks() <= self._forks or kind == "on cpu":
            return
        raise RuntimeError(
            f"expected a detector of this process, found one that is {kind} and was "
            "loaded before a fork; load it in each process, and start processes by "
            "multiprocessing's spawn, or gunicorn without --preload (docs/inference.md)"
        )

    def _prepare(
        self, images: Iterable[ImageInput], call: CallOptions
    ) -> Iterator[Prepared]:
        """Read and resize images one by one, as for data sets."""
        for number, image in enumerate(images):
            name, tiles = f"image {number}", call.test.tiles
            yield self.prepare(
                image, number=number, exif=call.exif, tiles=tiles, name=name
            )

    def _decode(
        self,
        image: ImageInput,
        sides: tuple[int, int] | None,
        exif: bool,
        name: str = "image",
    ) -> Decoded:
        """Read an image in full, or for sides of the network input: see `decode`."""
        reduced = sides if self.config.data.reduced_decoding else None
        return decode(image, reduced, exif=exif, name=name, channels=self.channels)

    def _detect(self, group: Sequence[Prepared], call: CallOptions) -> list[Result]:
        """Detect objects in one batch, or in an image's tiles."""
        found = self._entries(group, call)
        results = [
            Result.of(
                entry,
                size=item.size,
                path=item.path,
                class_names=self.classes,
                exif=call.exif,
                keypoint_names=self.keypoints,
            )
            for item, entry in zip(group, found, strict=True)
        ]
        return [
            result.pick(result.scores > call.limits[result.labels]).filter(
                classes=call.classes
            )
            for result in results
        ]

    def _entries(
        self, group: Sequence[Prepared], call: CallOptions
    ) -> list[ImageDetections]:
        """Run the network, at each scale, or the exported file."""
        whole = [item.samples for item in group]
        if isinstance(self.model, Exported):
            return self.model.detect([sample for (sample,) in whole])
        tiled = group[0].stored is not None
        batches = self._tiles(group[0], call) if tiled else [self._collate(whole)]
        return next(
            detect_images(
                self.model,
                batches,
                boxes=self.config.boxes,
                test=call.test,
                device=self.device,
                dtype=self.dtype,
                features=self.features,
                all_scores=self.all_scores,
            )
        )

    def _tiles(self, item: Prepared, call: CallOptions) -> Iterator[tuple[Batch, ...]]:
        """Cut an image into tiles, a batch at a time."""
        tiling, stored = tiling_of(call.test), item.stored
        assert tiling is not None and stored is not None
        sizes = view_sizes(self.config.data, call.test)
        for tiles in tiling.groups(*item.size, call.batch_size):
            yield self._collate(
                [[to_sample(stored, *size, tile) for size in sizes] for tile in tiles]
            )

    def _collate(self, images: Sequence[Sequence[Sample]]) -> tuple[Batch, ...]:
        """Stack the samples of each image at each scale into a batch per scale."""
        multiple = self.config.data.size_multiple
        return tuple(
            collate(samples, size_multiple=multiple)
            for samples in zip(*images, strict=True)
        )
