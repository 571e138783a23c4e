"""Transforms of torchvision and albumentations, named in a recipe.

Letters: H, W height and width of an image, G objects, K keypoints of an object.
"""

import contextlib
import dataclasses
import os
import pkgutil
import random
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ...config.data_settings import LIBRARIES
from ..mask_encoding import decode_masks, encode_masks, run_lengths
from ..records import BoolArray, FloatArray, IntArray, KeypointNames, Record
from .instances import exchange
from .masks import mask_bounds

Entry = str | Mapping[str, Mapping[str, Any]]
"""The dotted name of a transform or of a function that makes one, or that and its
arguments."""

_PROBE = np.array([[0, 0], [8, 0], [0, 8]], np.float32)
"""Points around the centre that show whether a transform mirrors the image."""
_HALF_PIXEL = np.float32(0.5)
_SAME = np.float32(0.01)
"""Pixels within which a box has not moved: albumentations rounds."""
_OF_OBJECTS = ("classes", "difficult", "crowd", "object_ids")


class TransformError(ValueError):
    """A transform failed on an image; the message names both."""


class Scene(NamedTuple):
    """An image and its objects, as transforms take and return them."""

    pixels: npt.NDArray[np.uint8]  # ``(H, W, 3)`` RGB
    # ``(G, 4)`` pixel edges; what a transform returns may leave the image
    boxes: FloatArray
    rows: IntArray  # ``(G,)`` number of each object in its record
    masks: BoolArray | None  # ``(G, H, W)``; None if there are none
    # ``(P, 2)`` keypoints of all objects, also of those that are lost, as pixel
    # indices; and behind them, three that show whether the image is mirrored. Empty if
    # there are none.
    points: FloatArray


class Step(Protocol):
    """A transform of either library."""

    def __call__(self, scene: Scene, seed: int) -> Scene:
        """Transform an image and its objects; some of these may be left out."""


class Transforms:
    """The transforms of ``data.transforms``, in order.

    Args:
        min_visible: least share of its box that must remain of an object.

    Raises:
        ValueError: a name cannot be imported, arguments are wrong, or what it gives is
            no transform of either library.
    """

    def __init__(self, entries: Sequence[Entry], min_visible: float) -> None:
        self.entries, self.min_visible = tuple(entries), min_visible
        self.steps = [step for entry in entries for step in _steps(entry, min_visible)]

    def __reduce__(self) -> Any:
        return Transforms, (self.entries, self.min_visible)

    def __call__(
        self,
        pixels: npt.NDArray[np.uint8],
        record: Record,
        seed: int,
        names: KeypointNames | None,
    ) -> tuple[npt.NDArray[np.uint8], Record]:
        """Transform an image as stored, and its objects.

        Boxes are clipped to the image; an object that is lost, or of which less than
        ``min_visible`` is left, is dropped with its mask and keypoints.

        Args:
            pixels: ``(H, W, 3)``.
            names: keypoints, of which a mirrored image exchanges pairs.

        Raises:
            TransformError: a transform failed.
        """
        scene = _scene(pixels, record)
        with _seeded(seed):
            for number, (name, step) in enumerate(self.steps):
                try:
                    found = step(scene, (seed + number) % (1 << 32))
                    scene = _settled(found, scene, self.min_visible)
                except Exception as error:
                    raise TransformError(
                        f"data.transforms: {name} failed on {record.path} "
                        f"({type(error).__name__}: {error}); correct its arguments, or "
                        "leave it out"
                    ) from error
        return scene.pixels, _record(record, scene, names)


def _steps(entry: Entry, min_visible: float) -> Iterator[tuple[str, Step]]:
    """Import a transform, and make it."""
    ((name, options),) = ({entry: {}} if isinstance(entry, str) else entry).items()
    # Importing it must not ask the network for a newer version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where users keep functions of their own
    try:
        factory = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        hint = ""
        if name.startswith("albumentations."):
            hint = "; install it with pip install 'faster-rcnn[albumentations]'"
        raise ValueError(
            f"data.transforms: cannot import {name!r} ({error}); name a transform such "
            "as torchvision.transforms.v2.RandomRotation, or a function in a module of "
            f"the current folder{hint}"
        ) from error
    kinds = _kinds()
    if name.startswith(LIBRARIES) and not (
        isinstance(factory, type) and issubclass(factory, kinds)
    ):
        raise ValueError(
            f"data.transforms: expected a class of transforms under the name {name}, "
            f"found {factory!r}; name one"
        )
    try:
        made = factory(**(options or {}))
    except Exception as error:
        raise ValueError(
            f"data.transforms: {name} cannot be made with {dict(options or {})} "
            f"({type(error).__name__}: {error}); correct its arguments"
        ) from error
    for transform in made if isinstance(made, list | tuple) else [made]:
        if not isinstance(transform, kinds):
            raise ValueError(
                f"data.transforms: expected {name} to give a transform of "
                "torchvision.transforms.v2 or albumentations, or a list of these, "
                f"found {type(transform).__qualname__}; return one"
            )
        if isinstance(transform, kinds[0]):
            yield name, partial(_with_torchvision, transform)
        else:
            compose = _compose(transform, min_visible)
            yield name, partial(_with_albumentations, compose)


def _kinds() -> tuple[type, ...]:
    """Return the classes of transforms: torchvision's, and albumentations' if used."""
    from torchvision.transforms import v2

    if "albumentations" not in sys.modules:
        return (v2.Transform,)
    import albumentations

    return v2.Transform, albumentations.BasicTransform, albumentations.BaseCompose


def _compose(transform: Any, min_visible: float) -> Any:
    import albumentations

    with warnings.catch_warnings():
        # Transforms of pixels alone have no use for these.
        warnings.filterwarnings("ignore", "Got processor for")
        return albumentations.Compose(
            [transform],
            bbox_params=albumentations.BboxParams(
                format="pascal_voc", label_fields=["rows"], min_visibility=min_visible
            ),
            keypoint_params=albumentations.KeypointParams(
                format="xy", remove_invisible=False
            ),
        )


def _with_torchvision(transform: Any, scene: Scene, seed: int) -> Scene:
    from torchvision import tv_tensors

    boxes = tv_tensors.BoundingBoxes
    size = scene.pixels.shape[:2]
    # Without it (before torchvision 0.24), boxes are clipped at once.
    unclipped = "clamping_mode" in boxes.__annotations__
    inputs: dict[str, Any] = {
        "image": tv_tensors.Image(torch.from_numpy(scene.pixels).permute(2, 0, 1)),
        "boxes": boxes(
            torch.from_numpy(scene.boxes),
            format="XYXY",
            canvas_size=size,
            **({"clamping_mode": None} if unclipped else {}),
        ),
        "labels": torch.arange(len(scene.rows)),
    }
    if scene.masks is not None and len(scene.masks):
        inputs["masks"] = tv_tensors.Mask(torch.from_numpy(scene.masks).byte())
    if len(scene.points):
        points = torch.from_numpy(scene.points)
        inputs["points"] = tv_tensors.KeyPoints(points, canvas_size=size)
    outputs = transform(inputs)
    image = outputs["image"].permute(1, 2, 0).numpy()
    found = {name: np.asarray(outputs[name]) for name in ("boxes", "labels")}
    masks, points = outputs.get("masks"), outputs.get("points", scene.points)
    kept = found["labels"]
    if masks is not None and len(masks) != len(kept):
        masks = masks[kept]
    return _result(scene, image, found["boxes"], kept, masks, points)


def _with_albumentations(compose: Any, scene: Scene, seed: int) -> Scene:
    compose.set_random_seed(seed)
    rows = np.arange(len(scene.rows))
    inputs: dict[str, Any] = {"image": scene.pixels, "bboxes": scene.boxes}
    if scene.masks is not None and len(scene.masks):
        inputs["masks"] = scene.masks.astype(np.uint8)
    inputs["keypoints"] = scene.points
    outputs = compose(**inputs, rows=rows)
    kept = np.asarray(outputs["rows"], np.int64)
    masks = outputs.get("masks")
    if masks is not None:
        masks = np.stack([masks[row] for row in kept]) if len(kept) else masks[:0]
    boxes = np.asarray(outputs["bboxes"]).reshape(-1, 4)
    return _result(scene, outputs["image"], boxes, kept, masks, outputs["keypoints"])


def _result(
    scene: Scene, pixels: Any, boxes: Any, kept: Any, masks: Any, points: Any
) -> Scene:
    """Return what a transform made of a scene; ``kept`` are the objects it left."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        shape = " x ".join(map(str, pixels.shape))
        raise ValueError(
            f"expected an image of uint8, height x width x 3, found {pixels.dtype}, "
            f"{shape}; the network normalises its input itself"
        )
    if scene.masks is not None:
        size = pixels.shape[:2]
        masks = np.zeros((0, *size), np.bool_) if masks is None else masks
        masks = np.asarray(masks) > 0
    boxes, points = np.asarray(boxes, np.float32), np.asarray(points, np.float32)
    pixels = np.ascontiguousarray(pixels)
    return Scene(pixels, boxes, scene.rows[np.asarray(kept)], masks, points)


def _settled(scene: Scene, before: Scene, min_visible: float) -> Scene:
    """Clip boxes to the image, and drop objects that are lost.

    A box that has moved is drawn tight around the object's mask, if it has one.
    """
    height, width = scene.pixels.shape[:2]
    own = np.searchsorted(before.rows, scene.rows)
    moved = (np.abs(scene.boxes - before.boxes[own]) > _SAME).any(axis=1)
    boxes = np.where(moved[:, None], scene.boxes, before.boxes[own])
    clipped = boxes.clip(0, np.array([width, height] * 2, np.float32))
    sides, seen = boxes[:, 2:] - boxes[:, :2], clipped[:, 2:] - clipped[:, :2]
    share = (seen / sides.clip(_SAME)).prod(axis=1)
    kept = (seen > 0).all(axis=1) & (share >= min_visible)
    if scene.masks is not None and before.masks is not None:
        for g in np.flatnonzero(moved & kept):
            if scene.masks[g].any():
                clipped[g] = mask_bounds(scene.masks[g])
            elif before.masks[own[g]].any():
                kept[g] = False
    masks = None if scene.masks is None else scene.masks[kept]
    return scene._replace(boxes=clipped[kept], rows=scene.rows[kept], masks=masks)


def _scene(pixels: npt.NDArray[np.uint8], record: Record) -> Scene:
    size, masks = (record.height, record.width), None
    if record.masks is not None:
        masks = decode_masks([run_lengths(m, *size) for m in record.masks], size)
    points = np.zeros((0, 2), np.float32)
    if record.keypoints is not None:
        centre = np.array(size[::-1], np.float32) / 2
        own = record.keypoints[..., :2].reshape(-1, 2) - _HALF_PIXEL
        points = np.concatenate([own, centre + _PROBE])
    rows = np.arange(len(record.boxes))
    return Scene(np.ascontiguousarray(pixels), record.boxes, rows, masks, points)


def _record(record: Record, scene: Scene, names: KeypointNames | None) -> Record:
    """Return the objects of a transformed image."""
    masks, keypoints = None, None
    if scene.masks is not None:
        found = zip(encode_masks(scene.masks), scene.masks, strict=True)
        masks = tuple(mask if drawn.any() else () for mask, drawn in found)
    if record.keypoints is not None:
        *_, origin, right, down = scene.points
        own = (scene.points[:-3] + _HALF_PIXEL).reshape(*record.keypoints.shape[:2], 2)
        keypoints = np.concatenate([own, record.keypoints[..., 2:]], axis=2)
        keypoints = keypoints[scene.rows]
        (a, b), (c, d) = right - origin, down - origin
        if a * d < b * c and names is not None:
            keypoints = exchange(keypoints, names.flip_pairs)
    boxes = scene.boxes
    return dataclasses.replace(
        record,
        width=scene.pixels.shape[1],
        height=scene.pixels.shape[0],
        boxes=boxes,
        areas=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        masks=masks,
        keypoints=keypoints,
        **{name: getattr(record, name)[scene.rows] for name in _OF_OBJECTS},
    )


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's random numbers, and restore them: training draws from them too."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    # Not torch.manual_seed, which would seed the GPUs' generators too.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
