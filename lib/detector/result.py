"""Detections in one image."""

import importlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..datasets.records import did_you_mean
from ..utils.drawing import Picture, class_color, draw_boxes
from .inputs import ImageInput, to_pixels


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
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    size: tuple[int, int]
    path: Path | None
    class_names: tuple[str, ...] = field(repr=False)
    exif: bool = field(default=True, repr=False)

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
        ``name``.
        """
        columns = (self.boxes.tolist(), self.scores.tolist(), self.labels.tolist())
        return [
            {"box": box, "score": score, "label": label, "name": name}
            for box, score, label, name in zip(*columns, self.names, strict=True)
        ]

    def filter(
        self, score_threshold: float | None = None, classes: Sequence[str] | None = None
    ) -> "Result":
        """Select detections above a threshold and of given classes.

        Raises:
            ValueError: the detector does not know a class.
        """
        kept = torch.ones_like(self.labels, dtype=torch.bool)
        if score_threshold is not None:
            kept &= self.scores > score_threshold
        if classes is not None:
            known = class_labels(classes, self.class_names)
            kept &= torch.isin(self.labels, torch.tensor(known, dtype=torch.int64))
        boxes, scores, labels = (
            x[kept] for x in (self.boxes, self.scores, self.labels)
        )
        return replace(self, boxes=boxes, scores=scores, labels=labels)

    def numpy(self) -> dict[str, npt.NDArray[Any]]:
        """Return ``boxes``, ``scores`` and ``labels`` as arrays that share memory."""
        return {k: getattr(self, k).numpy() for k in ("boxes", "scores", "labels")}

    def to_coco(
        self,
        image_id: int | str,
        category_ids: Sequence[int] | Mapping[str, int] | None = None,
    ) -> list[dict[str, Any]]:
        """Return rows in COCO's result format, whose box is x, y, width, height.

        Args:
            image_id: id of the image in the data set.
            category_ids: id per class, in order, the background's (never used) first,
                as in a ``Dataset``; or by class name. If None, the labels.

        Raises:
            ValueError: a class has no category.
        """
        ids = _category_ids(self, category_ids)
        return [
            {
                "image_id": image_id,
                "category_id": ids[found["label"]],
                "bbox": [x1, y1, max(x2 - x1, 0.0), max(y2 - y1, 0.0)],
                "score": found["score"],
            }
            for found in self
            for x1, y1, x2, y2 in [found["box"]]
        ]

    def to_voc(self) -> str:
        """Return an XML annotation in VOC's layout: whole, 1-based, inclusive corners.

        Each object also has its ``score``, which readers of annotations ignore.
        """
        height, width = self.size
        root = ET.Element("annotation")
        _add(root, "filename", self.path.name if self.path else "")
        size = ET.SubElement(root, "size")
        for key, length in (("width", width), ("height", height), ("depth", 3)):
            _add(size, key, length)
        _add(root, "segmented", 0)
        # Pixel edges are rounded to whole ones; a box keeps at least one pixel.
        edges = np.rint(self.boxes.numpy()).astype(int)
        limits = np.array([width, height])
        first = edges[:, :2].clip(0, limits - 1)
        last = np.maximum(edges[:, 2:].clip(0, limits), first + 1)
        # 1-based; the last pixel belongs to the box.
        boxes = np.concatenate([first + 1, last], axis=1).tolist()
        for name, score, box in zip(
            self.names, self.scores.tolist(), boxes, strict=True
        ):
            node = ET.SubElement(root, "object")
            _add(node, "name", name)
            _add(node, "pose", "Unspecified")
            _add(node, "truncated", 0)
            _add(node, "difficult", 0)
            _add(node, "score", f"{score:.6g}")
            corners = ET.SubElement(node, "bndbox")
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                _add(corners, key, value)
        ET.indent(root, "\t")
        return ET.tostring(root, encoding="unicode") + "\n"

    def to_supervision(self) -> Any:
        """Return a ``supervision.Detections``, with class names as ``class_name``.

        Raises:
            ImportError: the package supervision is not installed.
        """
        try:
            supervision = importlib.import_module("supervision")
        except ImportError as error:
            raise ImportError(
                "conversion to supervision.Detections needs the package supervision, "
                f"which cannot be imported here ({error}); pip install supervision"
            ) from error
        return supervision.Detections(
            xyxy=self.boxes.numpy(),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy(),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def draw(
        self,
        image: ImageInput | None = None,
        *,
        labels: bool = True,
        scores: bool = True,
    ) -> Picture:
        """Draw a box, a class and a score for each detection.

        Args:
            image: the image, of any supported type; if None, the file is read again.
            labels: write the class.
            scores: write the score.

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
        pixels = to_pixels(image, exif=self.exif)
        if pixels.shape[:2] != self.size:
            height, width = self.size
            raise ValueError(
                f"expected the image that was searched, of {width} x {height} pixels, "
                f"found one of {pixels.shape[1]} x {pixels.shape[0]}"
            )
        return draw_boxes(
            pixels,
            np.asarray(self.boxes.numpy(), np.float32),
            labels=self.names if labels else None,
            scores=self.scores.tolist() if scores else None,
            colors=[class_color(label) for label in self.labels.tolist()],
        )


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


def _category_ids(
    result: Result, given: Sequence[int] | Mapping[str, int] | None
) -> Mapping[int, int]:
    """Look up the category of each label that occurs or may occur."""
    names = result.class_names
    if given is None:
        return dict(enumerate(range(len(names))))
    if isinstance(given, Mapping):
        missing = sorted(set(result.names) - given.keys())
        if missing:
            raise ValueError(
                f"expected a category id of every class, found none of "
                f"{', '.join(missing)}; add them, or filter the classes"
            )
        return {label: given[name] for label, name in enumerate(names) if name in given}
    if len(given) != len(names):
        raise ValueError(
            f"expected {len(names)} category ids, background's first as in the classes "
            f"({', '.join(names)}), found {len(given)}"
        )
    return dict(enumerate(given))


def _add(parent: ET.Element, key: str, value: object) -> None:
    ET.SubElement(parent, key).text = str(value)
