"""Detections in one image."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..datasets.mask_encoding import decode_masks
from ..datasets.mask_outlines import mask_polygons
from ..datasets.records import FloatArray, KeypointNames, RunLengths, did_you_mean
from ..evaluation.image_detections import ImageDetections
from ..evaluation.score_thresholds import class_thresholds
from ..utils.drawing import (
    Picture,
    class_color,
    draw_boxes,
    draw_keypoints,
    draw_masks,
)
from ..utils.files import atomic_path
from .coco_rows import categories_of, coco_row
from .inputs import ImageInput, to_picture
from .voc_xml import voc_annotation

_COLUMNS = (
    *("boxes", "scores", "labels", "keypoints", "features", "all_scores", "track_ids"),
)
"""Tensors with a row of each detection."""


@dataclass(frozen=True, eq=False)
class Result:
    """The D detections in an image, best first; tensors are on the CPU.

    Attributes:
        boxes: ``(D, 4)`` float32 ``x1, y1, x2, y2``, pixel edges of the image: pixel k
            spans [k, k + 1), so ``x2 - x1`` is the width.
        scores: ``(D,)`` float32 class probabilities.
        labels: ``(D,)`` int64, 1..C-1, indices into ``class_names``.
        size: height and width of the image in pixels, after rotation by EXIF.
        path: path of the file; None if the image was not given by its path.
        class_names: the detector's C classes, background first.
        exif: whether EXIF's orientation was applied.
        run_lengths: D masks of the image in COCO's compressed form; None if the
            detector predicts none.
        keypoints: ``(D, K, 3)`` float32 x and y in continuous pixels of the image, and
            score; None if the detector predicts none.
        keypoint_names: what the K keypoints are, and the skeleton that joins them.
        features: ``(D, F)`` float32, what the box head's predictor gets of each box;
            None unless the detector has ``features``.
        all_scores: ``(D, C)`` float32 probabilities of all classes, background first,
            of the RoI that each detection comes from; None unless the detector has
            ``all_scores``.
        track_ids: ``(D,)`` int64 numbers of the objects in a video; None without a
            tracker.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    size: tuple[int, int]
    path: Path | None
    class_names: tuple[str, ...] = field(repr=False)
    exif: bool = field(default=True, repr=False)
    run_lengths: tuple[RunLengths, ...] | None = field(default=None, repr=False)
    keypoints: Tensor | None = None
    keypoint_names: KeypointNames | None = field(default=None, repr=False)
    features: Tensor | None = field(default=None, repr=False)
    all_scores: Tensor | None = field(default=None, repr=False)
    track_ids: Tensor | None = field(default=None, repr=False)

    @classmethod
    def of(cls, found: ImageDetections, **fields: Any) -> "Result":
        """Make a result of detections; ``fields`` are the remaining attributes."""
        return cls(
            boxes=torch.from_numpy(found.boxes),
            scores=torch.from_numpy(found.scores),
            labels=torch.from_numpy(found.classes),
            run_lengths=found.masks,
            keypoints=_tensor(found.keypoints),
            features=_tensor(found.features),
            all_scores=_tensor(found.class_scores),
            **fields,
        )

    @cached_property
    def masks(self) -> Tensor | None:
        """Return ``(D, H, W)`` bool, decoded once; None without a mask head."""
        if self.run_lengths is None:
            return None
        return torch.from_numpy(decode_masks(self.run_lengths, self.size))

    def polygons(self, max_vertices: int = 200) -> list[list[FloatArray]] | None:
        """Return the outlines of each mask; None without a mask head.

        Args:
            max_vertices: of all parts of one mask, at least 4; more of them follow the
                mask more closely, down to three quarters of a pixel.

        Returns:
            For each detection its parts, the largest first: ``(V, 2)`` float32 x and y,
            pixel edges. A hole is joined to its outline by a line there and back.
        """
        if self.run_lengths is None:
            return None
        return [
            [part.astype(np.float32) for part in mask_polygons(mask, max_vertices)]
            for mask in self.run_lengths
        ]

    @property
    def names(self) -> list[str]:
        """Return the class name of each detection."""
        return [self.class_names[label] for label in self.labels.tolist()]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Iterate over the detections as `to_list` returns them."""
        return iter(self.to_list())

    def to_list(self) -> list[dict[str, Any]]:
        """Return one dictionary per detection, of plain values for JSON.

        Its keys are ``box`` (x1, y1, x2, y2 as pixel edges), ``score``, ``label`` and
        ``name``; with masks ``mask`` (COCO's run lengths: ``size`` and ``counts``),
        with keypoints ``keypoints`` (x, y in continuous pixels, and score of each); and
        with ``all_scores`` these by the names of the classes, with ``track_ids`` an
        ``id``.
        """
        columns = (self.boxes.tolist(), self.scores.tolist(), self.labels.tolist())
        rows = [
            {"box": box, "score": score, "label": label, "name": name}
            for box, score, label, name in zip(*columns, self.names, strict=True)
        ]
        for row, mask in zip(rows, self.run_lengths or (), strict=False):
            row["mask"] = {"size": list(mask.size), "counts": mask.counts.decode()}
        if self.keypoints is not None:
            for row, points in zip(rows, self.keypoints.tolist(), strict=True):
                row["keypoints"] = points
        if self.track_ids is not None:
            for row, number in zip(rows, self.track_ids.tolist(), strict=True):
                row["id"] = number
        if self.all_scores is not None:
            for row, own in zip(rows, self.all_scores.tolist(), strict=True):
                row["all_scores"] = dict(zip(self.class_names, own, strict=True))
        return rows

    def filter(
        self,
        score_threshold: float | Mapping[str, float] | None = None,
        classes: Sequence[str] | None = None,
    ) -> "Result":
        """Select detections of given classes that score more than a threshold.

        Thresholds by class name leave the other classes as they are.

        Raises:
            ValueError: the detector does not know a class.
        """
        kept = torch.ones_like(self.labels, dtype=torch.bool)
        if isinstance(score_threshold, Mapping):
            limits = class_thresholds(self.class_names, 0, score_threshold)
            kept &= self.scores > torch.from_numpy(limits)[self.labels]
        elif score_threshold is not None:
            kept &= self.scores > score_threshold
        if classes is not None:
            known = class_labels(classes, self.class_names)
            kept &= torch.isin(self.labels, torch.tensor(known, dtype=torch.int64))
        return self.pick(kept)

    def pick(self, kept: Tensor) -> "Result":
        """Select the detections of a mask ``(D,)`` bool, or of indices, in order."""
        rows = torch.arange(len(self))[kept]
        values = {key: getattr(self, key) for key in _COLUMNS}
        fields: dict[str, Any] = {
            key: None if v is None else v[rows] for key, v in values.items()
        }
        runs = self.run_lengths
        if runs is not None:
            fields["run_lengths"] = tuple(runs[row] for row in rows.tolist())
        return replace(self, **fields)

    def numpy(self) -> dict[str, npt.NDArray[Any]]:
        """Return boxes, scores, labels, and whatever else there is.

        Arrays by the names of the attributes, which share their memory.
        """
        tensors = {key: getattr(self, key) for key in (*_COLUMNS, "masks")}
        return {
            k: tensor.numpy() for k, tensor in tensors.items() if tensor is not None
        }

    def save(self, path: str | Path) -> None:
        """Write the arrays of `numpy`, ``class_names`` and ``size`` as an .npz file.

        ``numpy.load(path)`` reads it; masks are bool ``(D, H, W)``, compressed.
        """
        arrays: dict[str, Any] = {**self.numpy(), "size": self.size}
        arrays["class_names"] = np.array(self.class_names, np.str_)
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    def to_coco(
        self,
        image_id: int | str,
        category_ids: Sequence[int] | Mapping[str, int] | None = None,
    ) -> list[dict[str, Any]]:
        """Return rows in COCO's result format, whose box is x, y, width, height.

        Masks are under ``segmentation``, and keypoints, whose whole numbers are the
        centres of pixels there, under ``keypoints``.

        Args:
            image_id: id of the image in the data set.
            category_ids: id per class, in order, the background's (never used) first,
                as in a ``Dataset``; or by class name. If None, the labels.

        Raises:
            ValueError: a class has no category.
        """
        ids = categories_of(self.class_names, self.names, category_ids)
        return [coco_row(row, image_id, ids[row["label"]]) for row in self]

    def to_voc(self) -> str:
        """Return an XML annotation in VOC's layout: whole, 1-based, inclusive corners.

        Each object also has its ``score``, which readers of annotations ignore.
        """
        return voc_annotation(
            "" if self.path is None else self.path.name,
            self.size,
            self.names,
            self.boxes.numpy(),
            self.scores.tolist(),
        )

    def to_supervision(self) -> Any:
        """Return a ``supervision.Detections`` with masks, and names as ``class_name``.

        Raises:
            ImportError: the package supervision is not installed.
        """
        masks = self.masks
        return _supervision().Detections(
            xyxy=self.boxes.numpy(),
            mask=None if masks is None else masks.numpy(),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy(),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def to_supervision_keypoints(self) -> Any:
        """Return a ``supervision.KeyPoints``, with names as ``class_name``.

        Raises:
            ImportError: the package supervision is not installed.
            ValueError: the detector predicts no keypoints.
        """
        if self.keypoints is None:
            raise ValueError(
                "expected a detector of keypoints, found none in its result"
            )
        points = self.keypoints.numpy()
        return _supervision().KeyPoints(
            xy=points[..., :2],
            confidence=points[..., 2],
            class_id=self.labels.numpy(),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def draw(
        self,
        image: ImageInput | None = None,
        *,
        labels: bool = True,
        scores: bool = True,
        masks: bool = True,
        keypoint_threshold: float = 0.05,
    ) -> Picture:
        """Draw a box, a class and a score for each detection, its mask and keypoints.

        Args:
            image: the image, of any supported type; if None, the file is read again.
            labels: write the class.
            scores: write the score.
            masks: draw the masks.
            keypoint_threshold: scores of drawn keypoints exceed it.

        Returns:
            ``(H, W, 3)`` uint8 RGB of the image's size.

        Raises:
            ImageError: the file cannot be read.
            ValueError: no image is given and there is no file, or the size differs.
        """
        if image is None:
            if self.path is None:
                raise ValueError(
                    "expected the image to draw on, because the result is not from a "
                    "file; give the image: result.draw(image)"
                )
            image = self.path
        pixels = to_picture(image, exif=self.exif)
        if pixels.shape[:2] != self.size:
            height, width = self.size
            raise ValueError(
                f"expected the image that was searched, of {width} x {height} pixels, "
                f"found one of {pixels.shape[1]} x {pixels.shape[0]}"
            )
        # Of a single class, colours tell its objects apart.
        alone = len(self.class_names) == 2 and (
            self.run_lengths or self.keypoints is not None
        )
        hues = range(1, len(self) + 1) if alone else self.labels.tolist()
        texts = self.names
        if self.track_ids is not None:
            hues = self.track_ids.tolist()
            texts = [
                f"{text} {number}" for text, number in zip(texts, hues, strict=True)
            ]
        colors = [class_color(hue) for hue in hues]
        if masks and self.run_lengths is not None:
            pixels = draw_masks(pixels, self.run_lengths, colors)
        if self.keypoints is not None:
            skeleton = self.keypoint_names.skeleton if self.keypoint_names else ()
            points = self.keypoints.numpy()
            pixels = draw_keypoints(
                pixels, points, skeleton, colors, keypoint_threshold
            )
        # The labels come last, so that nothing crosses them.
        return draw_boxes(
            pixels,
            np.asarray(self.boxes.numpy(), np.float32),
            labels=texts if labels else None,
            scores=self.scores.tolist() if scores else None,
            colors=colors,
        )


def _tensor(values: FloatArray | None) -> Tensor | None:
    return None if values is None else torch.from_numpy(values)


def class_labels(names: Sequence[str], class_names: Sequence[str]) -> list[int]:
    """Look up the labels of class names.

    Args:
        names: names to look up.
        class_names: the C classes, background first.

    Raises:
        ValueError: a name is unknown, or a string is given instead of a list.
    """
    if isinstance(names, str):
        raise ValueError(
            f"expected a list of classes, found {names!r}; give [{names!r}]"
        )
    known = {name: label for label, name in enumerate(class_names) if label > 0}
    for name in names:
        if name not in known:
            raise ValueError(
                f"unknown class {name!r}{did_you_mean(str(name), known)}; the detector "
                f"knows {', '.join(known)}"
            )
    return [known[name] for name in names]


def _supervision() -> Any:
    try:
        return importlib.import_module("supervision")
    except ImportError as error:
        raise ImportError(
            "conversion to supervision's classes needs the package supervision, which "
            f"cannot be imported here ({error}); pip install supervision"
        ) from error
