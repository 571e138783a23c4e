"""Detectors on weights by formula, with their golden numbers (shared/golden/family)."""

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.masks import pack_bitmaps, pack_polygons
from faster_rcnn.layer_utils.structures import (
    Bitmaps,
    Detections,
    GroundTruth,
    Images,
    Polygons,
)
from faster_rcnn.weights import recognise_weights
from faster_rcnn.weights.layouts import layouts, nearest_layout
from faster_rcnn.weights.writing import detector_config
from formula_weights import family_state
from golden_masks import golden_outlines, unpacked
from tiny_runs import detect_images
from weight_files import loaded_detector


class GoldenCase:
    """A detector with its golden numbers.

    Args:
        folder: of the golden data of the family.
        name: of the detector's file there.
        overrides: settings by section, on top of those of the weights.
        image: name of the image and its objects in ``inputs.npz``.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        overrides: Mapping[str, Mapping[str, Any]],
        image: str = "mask0",
    ) -> None:
        self.name, self.image = name, image
        self.detectron2 = name.startswith("d2")
        self.golden = np.load(folder / f"{name}.npz")
        spec = json.loads((folder / f"{name}_state.json").read_text())
        theirs = family_state(spec)
        self.weights = recognise_weights(theirs, name)
        layout = nearest_layout(theirs, layouts(), source=name)
        self._ours = {theirs: ours for ours, theirs in layout.names.items()}
        settings = detector_config(self.weights, []).model_dump(mode="json")
        for section, values in overrides.items():
            settings[section] |= values
        settings["test"]["detections_per_image"] = 20
        self.config = Config.model_validate(settings)
        self.model = loaded_detector(self.config, self.weights)
        self.data = np.load(folder / "inputs.npz")
        pixels = torch.from_numpy(self.data[f"{image}_image"]).permute(2, 0, 1)[None]
        self.images = Images(pixels, torch.tensor([pixels.shape[2:]]), False)
        classes = torch.from_numpy(self.data[f"{image}_classes"]).long()[None]
        self.boxes = GroundTruth(
            boxes=torch.from_numpy(self.data[f"{image}_boxes"]).float()[None],
            classes=classes,
            valid=torch.ones_like(classes, dtype=torch.bool),
        )

    def masks(self, form: str) -> Polygons | Bitmaps:
        """The masks of the objects, as ``polygons`` or ``bitmaps``."""
        slots = self.boxes.classes.shape[1]
        if form == "polygons":
            outlines = golden_outlines(self.data, self.image)
            return pack_polygons([outlines], slots=slots)
        width = self.images.pixels.shape[3]
        full = unpacked(self.data[f"{self.image}_bitmasks_packed"], width).astype(bool)
        return pack_bitmaps([list(full)], slots=slots, max_side=512)

    def detect(self) -> Detections:
        """Detections of the detector in the image."""
        return detect_images(self.model, self.config, self.images)

    def detections(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Golden boxes, scores and classes, background being 0."""
        key, shift = ("classes", 1) if self.detectron2 else ("labels", 0)
        classes = self.golden[f"test_det0_{key}"] + shift
        return (
            self.golden["test_det0_boxes"],
            self.golden["test_det0_scores"],
            classes,
        )

    def gradients(
        self, table: str = "train_grads"
    ) -> Iterator[tuple[str, str, np.ndarray | None, np.ndarray]]:
        """Each trained tensor: key there, key here, our gradient, golden row."""
        parameters = dict(self.model.named_parameters())
        rows = zip(self.golden["train_grad_keys"], self.golden[table], strict=True)
        for key, row in rows:
            gradient = parameters[self._ours[key]].grad
            found = None if gradient is None else gradient.double().numpy()
            yield key, self._ours[key], found, row


def check_gradient(
    key: str, gradient: np.ndarray, row: np.ndarray, *, tolerance: float = 1e-3
) -> None:
    """Compare a gradient, in the order of the golden one, with its golden numbers.

    The tolerance is of the projection on a random direction, relative to the norm.
    """
    norm, _, along = row
    draw = np.random.default_rng(zlib.crc32(f"grad.{key}".encode()))
    direction = draw.standard_normal(gradient.shape)
    assert np.linalg.norm(gradient) == pytest.approx(norm, rel=1e-3), key
    found = (gradient * direction).sum()
    assert found == pytest.approx(along, abs=tolerance * norm), key
