"""Transforms of both libraries: pixels, boxes, masks and keypoints move together."""

import dataclasses
import itertools
import os
import pickle
import random
from itertools import islice

import numpy as np
import pytest
import torch
from faster_rcnn.datasets.loading.transforms import TransformError, Transforms
from faster_rcnn.datasets.wanted_instances import Instances
from loader_words import training_batches_of
from test_instances import NAMES, expect_followed, record, sample  # noqa: F401
from torchvision.transforms import v2

HAS_ALBUMENTATIONS = True
try:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations  # noqa: F401
except ImportError:
    HAS_ALBUMENTATIONS = False

TV, A = "torchvision.transforms.v2", "albumentations"
MIRRORS = {"horizontal": True, "vertical": True, "both": False, "turn": False}
"""Whether each of these mirrors the image."""
ENTRIES = {
    TV: {
        "horizontal": [{f"{TV}.RandomHorizontalFlip": {"p": 1}}],
        "vertical": [{f"{TV}.RandomVerticalFlip": {"p": 1}}],
        "turn": [{f"{TV}.RandomRotation": {"degrees": [90, 90], "expand": True}}],
        "crop": [{f"{TV}.RandomCrop": {"size": [50, 60]}}],
        "affine": [{f"{TV}.RandomAffine": {"degrees": 25, "scale": [0.8, 1.1]}}],
        "colours": [f"{TV}.RandomPhotometricDistort"],
    },
    A: {
        "horizontal": [{f"{A}.HorizontalFlip": {"p": 1}}],
        "vertical": [{f"{A}.VerticalFlip": {"p": 1}}],
        "turn": [{f"{A}.RandomRotate90": {"p": 1}}],
        "crop": [{f"{A}.RandomCrop": {"height": 50, "width": 60, "p": 1}}],
        "affine": [{f"{A}.Affine": {"rotate": 25, "scale": 0.9, "p": 1}}],
        "colours": [{f"{A}.RandomBrightnessContrast": {"p": 1}}],
    },
}
LIBRARIES = [
    TV,
    pytest.param(A, marks=pytest.mark.skipif(not HAS_ALBUMENTATIONS, reason=A)),
]


def transformed(full, *entries, seed=5, min_visible=0.0, **options):
    transforms = Transforms(entries, min_visible)
    return sample(full, transforms=transforms, seed=seed, **options)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("form", ["outlines", "run lengths"])
@pytest.mark.parametrize("kind", ["horizontal", "vertical", "turn", "crop", "affine"])
def test_objects_follow(record, library, form, kind):  # noqa: F811
    for seed in (0, 1):
        result = transformed(record(form), *ENTRIES[library][kind], seed=seed)
        expect_followed(result, flip=MIRRORS.get(kind, False), scale=result.scale)
        assert (result.keypoints[..., 2] > 0).any()
        height, width = result.pixels.shape[:2]
        assert height <= 70 and width <= 90  # the room that the image has without
        for box, number in zip(result.boxes, result.classes, strict=True):
            inside = np.argwhere(result.pixels[..., number - 1] > 127)
            near = (*inside.min(0)[::-1], *(inside.max(0)[::-1] + 1))
            np.testing.assert_allclose(box, near, atol=1.5 * result.scale)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_pipeline_is_a_function_of_the_seed(record, library):  # noqa: F811
    full, entries = record(), [*itertools.chain(*ENTRIES[library].values())]
    transforms = Transforms(entries, 0.1)
    again = pickle.loads(pickle.dumps(transforms))  # as workers get it
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    found = [sample(full, transforms=transforms, seed=s) for s in (3, 4, 3)]
    found.append(sample(full, transforms=again, seed=3))
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    first, other, *same = (one.pixels for one in found)
    assert all(np.array_equal(first, pixels) for pixels in same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("library", LIBRARIES)
def test_lost_objects_go_with_masks_and_keypoints(record, library):  # noqa: F811
    full = record()
    crop = f"{__name__}.LeftPart"
    if library == A:
        crop = {f"{A}.Crop": {"x_max": 36, "y_max": 60, "p": 1}}
    result = transformed(full, crop, min_visible=0.5)
    assert result.classes.tolist() == [1] and result.lost == 1
    assert len(result.masks) == len(result.keypoints) == 1
    # The left eye is in it, the right one and the tip are not.
    assert result.keypoints[0, :, 2].tolist() == [2, 0, 0]
    assert not len(transformed(full, crop, min_visible=0.9).boxes)


class LeftPart(v2.Transform):
    def transform(self, inpt, params):
        return v2.functional.crop(inpt, 0, 0, 60, 36)


def test_errors_name_transform_and_image(record, tmp_path):  # noqa: F811
    full = record()
    entry = {f"{TV}.ToDtype": {"dtype": torch.float32, "scale": True}}
    with pytest.raises(
        TransformError, match=r"v2\.ToDtype failed on .*image\.png .*uint8.*float32"
    ):
        transformed(full, entry)
    batches = training_batches_of([full], transforms=Transforms([entry], 0))
    with pytest.raises(TransformError, match=r"ToDtype failed on .*image\.png"):
        next(batches)
    for wrong, told in (
        (f"{TV}.RandomRotatoin", "cannot import 'torchvision.*RandomRotatoin'"),
        ("no_such_module.f", "cannot import.*module of the current folder"),
        ({f"{TV}.RandomCrop": {"sides": 3}}, "RandomCrop cannot be made.*'sides': 3"),
        ("collections.Counter", "expected collections.Counter to give.*found Counter"),
        (f"{TV}.functional.rotate", "expected a class of transforms.*rotate"),
    ):
        with pytest.raises(ValueError, match=told):
            Transforms([wrong], 0)


def test_functions_of_the_current_folder(record, tmp_path, monkeypatch):  # noqa: F811
    text = f"import {TV} as T\ndef make(p): return [T.RandomHorizontalFlip(p)] * 2\n"
    (tmp_path / "own_transforms_here.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    twice = transformed(record(), {"own_transforms_here.make": {"p": 1.0}})
    np.testing.assert_array_equal(twice.pixels, sample(record()).pixels)


@pytest.mark.parametrize("library", LIBRARIES)
def test_images_without_objects(record, library):  # noqa: F811
    full = record()
    none = {n: getattr(full, n)[:0] for n in ("boxes", "classes", "difficult", "crowd")}
    none |= {n: getattr(full, n)[:0] for n in ("areas", "object_ids", "keypoints")}
    bare = dataclasses.replace(full, masks=(), **none)
    for entries in ENTRIES[library].values():
        assert transformed(bare, *entries).boxes.shape == (0, 4)
        only_boxes = dataclasses.replace(full, masks=None, keypoints=None)
        result = transformed(only_boxes, *entries, instances=Instances())
        assert result.masks is result.keypoints is None and len(result.boxes)


def test_batches_resume(record):  # noqa: F811
    entries = [*itertools.chain(*ENTRIES[TV].values())]
    options = {
        "transforms": Transforms(entries, 0.1),
        "seeded": True,
        "instances": Instances("bitmaps", NAMES),
        "batch_size": 2,
    }
    items = [record()] * 3
    whole = list(islice(training_batches_of(items, **options), 4))
    (rest,) = islice(training_batches_of(items, start=3, **options), 1)
    assert all(map(torch.equal, rest.tensors(), whole[3].tensors()))
    assert not torch.equal(whole[0].images.pixels, whole[1].images.pixels)
