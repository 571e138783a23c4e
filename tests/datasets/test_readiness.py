"""Findings about a run's data sets before its first update."""

import cv2
import numpy as np
import pytest
from checked_folders import CocoFolder, VocFolder, encoded, picture, thing
from faster_rcnn.datasets.catalog import load_dataset
from faster_rcnn.datasets.loading.images import read_image
from faster_rcnn.datasets.readiness import (
    dark_images,
    expect_testable,
    expect_trainable,
    untrained_classes,
)


@pytest.fixture
def voc(tmp_path):
    return VocFolder(tmp_path / "own")


@pytest.fixture
def coco(tmp_path):
    return CocoFolder(tmp_path / "own")


def look(folder, *, use_difficult=False, max_unreadable=0.5):
    found = load_dataset(str(folder.root), root=folder.root, split="train")
    return expect_trainable(
        found, use_difficult=use_difficult, max_unreadable=max_unreadable
    )


def look_at_test(folder):
    found = load_dataset(str(folder.root), root=folder.root, split="test")
    return expect_testable(found)


def rows(coco, **changes):
    for row in coco.tables["train"]["annotations"]:
        row.update(changes)
    coco.write()


def test_clean_folders(voc, tmp_path):
    for folder in (voc, CocoFolder(tmp_path / "coco")):
        assert look(folder) == look_at_test(folder) == []


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"iscrowd": 1}, r"3 x crowd \(.*is iscrowd 1 meant\?"),
        ({"bbox": [0.1, 0.1, 0.5, 0.5]}, r"3 x box of a pixel or less \(.*shares of"),
        ({"bbox": [30, 30, -9, -9]}, r"3 x inverted box \(.*another order"),
        ({"bbox": [30, 30, 0, 0]}, "3 x zero-area box"),
        ({"bbox": [300, 300, 9, 9]}, r"3 x box outside the image \(.*another size"),
        ({"image_id": 99}, r"3 x annotation of an image that is not listed \(do"),
    ],
)
def test_nothing_to_learn_from(coco, changes, cause):
    rows(coco, **changes)
    with pytest.raises(ValueError, match=rf"own_train: .*found none in 3.*: {cause}"):
        look(coco)


def test_no_annotations(coco):
    for tables in coco.tables.values():
        tables["annotations"] = []
    coco.write()
    with pytest.raises(ValueError, match="found none in 3 images: none is annotated"):
        look(coco)
    (concern,) = look_at_test(coco)
    assert concern.endswith("0 of 0 objects are left to test on: none is annotated")


def test_difficult_objects_may_be_trained_on(voc):
    for stem in "abcdef":
        voc.annotate(stem, thing(extra="<difficult>1</difficult>"))
    with pytest.raises(
        ValueError, match=r"4 x object marked difficult .*use_difficult"
    ):
        look(voc)
    assert look(voc, use_difficult=True) == []
    (concern,) = look_at_test(voc)
    assert "0 of 2 objects are left to test on: 2 x object marked diff" in concern


def test_corners_where_sizes_belong(coco):
    rows(coco, bbox=[20, 20, 70, 50])
    (concern,) = look(coco)
    assert "3 x clipped box (are far corners where width and height are" in concern


def test_a_few_losses_are_no_concern(coco):
    for _ in range(3):
        coco.add("train", 1, [30, 30, -9, -9])
    assert look(coco) == []
    coco.add("train", 1, [30, 30, -9, -9])
    (concern,) = look(coco)
    assert concern.startswith("own_train: 3 of 7 objects are left to learn from: 4 x")


@pytest.mark.parametrize("size", [(90, 70), (160, 120), (2_000_000_000, 60)])
def test_sizes_that_differ_from_the_files(voc, size):
    for stem in "ae":
        voc.annotate(stem, thing(), size=size)
    (concern,) = look(voc)
    assert (
        "1 of 4 images looked at cannot be used and are replaced by others, first: "
        in concern
    )
    assert f"a.jpg: expected {size[0]} x {size[1]} pixels as annotated" in concern
    with pytest.raises(ValueError, match=r"1 of 4 .* data\.max_unreadable = 0\.2"):
        look(voc, max_unreadable=0.2)
    with pytest.raises(
        ValueError, match=r"1 of 2 .*cannot be tested on, first: .*e\.jpg"
    ):
        look_at_test(voc)


def test_most_images_unusable(voc):
    for stem in "abc":
        voc.image(stem, b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"3 of 4 images .*git lfs pull"):
        look(voc)


def test_exchanged_sides_are_exif_s(voc, caplog):
    voc.annotate("e", thing(), size=(60, 80))
    with pytest.raises(
        ValueError, match="no EXIF orientation that exchanges the sides"
    ):
        look_at_test(voc)
    voc.image("e", encoded(picture(4), orientation=6))
    with caplog.at_level("INFO"):
        assert look_at_test(voc) == []
    assert "1 of 2 images looked at are turned as EXIF says" in caplog.text


def test_a_sample_of_many_images(voc, monkeypatch):
    monkeypatch.setattr("faster_rcnn.datasets.readiness._SAMPLE", 2)
    voc.annotate("b", thing(), size=(90, 70))  # the ends are looked at
    assert look(voc) == []
    voc.annotate("d", thing(), size=(90, 70))
    assert "1 of 2 images" in look(voc)[0]


@pytest.mark.parametrize("most", [1023, 4095, 65535, 255])
def test_images_of_few_bits_in_16(voc, most):
    """As 8-bit RGB, which keeps the upper 8 bits, they would be nearly black."""
    pixels = np.full((60, 80), most, np.uint8 if most == 255 else np.uint16)
    voc.image_path("b").unlink()
    cv2.imwrite(str(voc.image_path("b", "tif")), pixels)
    train = load_dataset(str(voc.root), root=voc.root, split="train")
    told = dark_images(train)
    assert len(told) == (255 < most < 65535)
    if told:
        reach = f"reach {most} of 65535, first in {voc.image_path('b', 'tif')}, and are"
        assert told[0].startswith(f"own_train: pixels of 16 bits {reach} nearly black")
        assert "set net.in_channels, net.pixel_mean and net.pixel_std as" in told[0]
        assert read_image(voc.image_path("b", "tif")).max() < 16


def test_classes_without_training_example(voc):
    voc.annotate("e", thing(), thing("stone", (1, 1, 9, 9)))
    train, test = (
        load_dataset(str(voc.root), root=voc.root, split=split)
        for split in ("train", "test")
    )
    (concern,) = untrained_classes(train, test)
    assert concern.startswith("own_test: own_train has no example of stone, so")
    assert untrained_classes(test, train) == []
