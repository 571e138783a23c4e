"""Names that are alike, pictures that are alike, facts of files."""

import numpy as np
import pytest
from checked_folders import encoded, picture
from faster_rcnn.datasets.checks.annotations import edit_distance, misspellings
from faster_rcnn.datasets.checks.duplicates import check_duplicates
from faster_rcnn.datasets.checks.entries import (
    Entry,
    FileFacts,
    Source,
    Written,
    are_apart,
)
from faster_rcnn.datasets.checks.image_files import inspect_file
from faster_rcnn.datasets.formats.voc import VOC_CLASSES
from faster_rcnn.datasets.loading.orientation import upright
from PIL import Image, ImageOps


@pytest.mark.parametrize(
    ("ours", "theirs", "distance"),
    [
        ("", "", 0),
        ("abc", "", 3),
        ("platelet", "platelet", 0),
        ("platelet", "platlet", 1),
        ("platelet", "palteletx", 2),
        ("helmet", "hlemet", 1),
        ("glass", "grass", 1),
    ],
)
def test_edit_distance(ours, theirs, distance):
    assert edit_distance(ours, theirs) == edit_distance(theirs, ours) == distance


@pytest.mark.parametrize(
    ("counts", "renamed"),
    [
        ({"RBC": 9, "WBC": 1, "cat": 9, "car": 1, "bus": 2}, {}),
        (
            {"cat": 9, "Cat": 2, "cats": 1, "catt": 1},
            dict.fromkeys(["Cat", "cats", "catt"], "cat"),
        ),
        ({"traffic light": 3, "traffic_light": 5}, {"traffic light": "traffic_light"}),
        ({"helmet": 5, "hlemet": 5}, {"hlemet": "helmet"}),
        ({"platelets": 9, "platlets": 1}, {"platlets": "platelets"}),
        ({"grass": 9, "glass": 8, "brass": 7}, {}),
        ({"bottle": 9, "bottie": 1}, {"bottie": "bottle"}),
        ({"bottle": 9, "bottie": 5}, {}),
        ({"class1": 9, "class2": 9, "class11": 1}, {}),
        ({"+": 9, "*": 1}, {}),
        ({"RBC": 500, "RCB": 1, "WBC": 400}, {"RCB": "RBC"}),
        ({"cat": 19, "act": 1}, {}),
        ({"a12": 90, "a21": 1}, {}),
    ],
)
def test_misspellings(counts, renamed):
    assert misspellings(counts) == renamed


def test_published_names_are_right():
    assert misspellings({}, VOC_CLASSES) == {}
    counts = {"chairs": 90, "chair": 1}
    assert misspellings(counts, VOC_CLASSES) == {"chairs": "chair"}


@pytest.mark.parametrize(
    ("ours", "theirs", "apart"),
    [
        (["train"], ["train"], None),
        (["train", "trainval"], ["train", "trainval"], None),
        (["trainval"], ["val"], None),
        (["train", "trainval"], ["val", "trainval"], ("train", "val")),
        (["trainval"], ["test"], ("trainval", "test")),
        ([], ["test"], None),
    ],
)
def test_splits_that_must_not_share(ours, theirs, apart):
    assert are_apart(ours, theirs) == apart


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_viewers_show(orientation, tmp_path):
    pixels = picture(0)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(pixels, "png", orientation=orientation))
    with Image.open(path) as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(upright(pixels, orientation), shown)
    assert inspect_file(path).orientation == orientation


def facts_of(tmp_path, data):
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    return inspect_file(path)


def test_facts_of_a_file(tmp_path):
    facts = facts_of(tmp_path, encoded(picture(0)))
    assert (facts.width, facts.height, facts.channels) == (80, 60, 3)
    assert (facts.orientation, facts.problem) == (1, "")
    assert len(facts.digest) == 16 and len(facts.thumbnail) == 256
    assert inspect_file(tmp_path / "gone.jpg") == FileFacts(
        problem="No such file or directory"
    )


def test_palette_counts_as_colours(tmp_path):
    image = Image.fromarray(picture(0)).convert("P")
    image.save(tmp_path / "a.png")
    assert inspect_file(tmp_path / "a.png").channels == 3


def test_hash_by_hand(tmp_path):
    # Brighter to the right in the upper half, darker in the lower: 32 ones, 32 zeros.
    ramp = np.tile(np.linspace(0, 250, 72, dtype=np.uint8), (32, 1))
    grey = np.concatenate([ramp, ramp[:, ::-1]])
    pixels = np.repeat(grey[..., None], 3, axis=2)
    facts = facts_of(tmp_path, encoded(pixels, "png"))
    assert facts.gradient_hash == 0xFFFFFFFF00000000
    assert facts_of(tmp_path, encoded(pixels * 0 + 9, "png")).gradient_hash is None


def entries_of(tmp_path, pictures, splits=None):
    source = Source("voc", tmp_path, ("train", "test"))
    entries = []
    for number, data in enumerate(pictures):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(data)
        own = splits[number] if splits else ("train",)
        entries.append(
            Entry(str(number), path, path, source, own, facts=inspect_file(path))
        )
    return entries


def test_different_pictures_are_not_alike(tmp_path):
    pictures = [encoded(picture(seed)) for seed in range(60)]
    assert check_duplicates(entries_of(tmp_path, pictures)) == []


def test_flat_pictures_are_alike_by_bytes_only(tmp_path):
    flat = [encoded(np.full((60, 80, 3), grey, np.uint8)) for grey in (90, 91, 90)]
    (one,) = check_duplicates(entries_of(tmp_path, flat))
    assert one.entry.image_id == "2" and "same bytes as" in one.detail


def test_smaller_copy_is_alike(tmp_path):
    pixels = picture(3, (320, 240))
    small = np.asarray(Image.fromarray(pixels).resize((160, 120)))
    pictures = [encoded(picture(1)), encoded(pixels), encoded(small, quality=50)]
    (one,) = check_duplicates(entries_of(tmp_path, pictures))
    assert one.kind == "duplicate image" and one.entry.image_id == "2"
    assert "same picture as" in one.detail


def test_each_copy_is_named_once_and_the_test_keeps_its_own(tmp_path):
    same = encoded(picture(0))
    splits = [("train",), ("train",), ("test",), ("test",)]
    found = check_duplicates(entries_of(tmp_path, [same] * 4, splits))
    assert [(d.entry.image_id, d.kind) for d in found] == [
        ("0", "leakage between splits"),
        ("1", "leakage between splits"),
        ("3", "duplicate image"),
    ]


def test_like_hashes_of_different_pictures(tmp_path):
    # Both grow brighter to the right everywhere, one evenly, one mostly at the end.
    ramp = np.tile(np.linspace(0, 1, 72), (64, 1))
    pictures = [
        encoded(np.repeat(grey[..., None], 3, axis=2).astype(np.uint8), "png")
        for grey in (250 * ramp, 50 * ramp + 200 * (ramp > 0.85))
    ]
    ours, theirs = entries = entries_of(tmp_path, pictures)
    differing = ours.facts.gradient_hash ^ theirs.facts.gradient_hash
    assert bin(differing).count("1") < 4
    assert check_duplicates(entries) == []


def test_equal_bytes_with_other_objects(tmp_path):
    entries = entries_of(tmp_path, [encoded(picture(0))] * 2)
    entries[1].objects.append(Written(0, "cell", (1, 1, 9, 9), ignored=False))
    (one,) = check_duplicates(entries)
    assert one.kind == "duplicate image" and one.detail.endswith("with other objects")


@pytest.mark.parametrize(
    ("box", "name", "kind"),
    [
        ((20, 20, 60, 60), "cell", "duplicate image"),
        ((21, 19, 60, 61), "cell", "duplicate image"),  # rounded at the smaller size
        ((26, 20, 66, 60), "cell", "near-duplicate image"),
        ((20, 20, 60, 60), "stone", "near-duplicate image"),
    ],
)
def test_one_picture_needs_equal_objects(tmp_path, box, name, kind):
    pixels = picture(3, (320, 240))
    small = np.asarray(Image.fromarray(pixels).resize((160, 120)))
    entries = entries_of(tmp_path, [encoded(pixels), encoded(small)])
    entries[0].objects.append(Written(0, name, box, ignored=False))
    half = (10.0, 10.0, 30.0, 30.0)
    entries[1].objects.append(Written(0, "cell", half, ignored=False))
    (one,) = check_duplicates(entries)
    assert one.kind == kind


def test_one_picture_needs_all_of_it_alike(tmp_path):
    pixels = picture(3, (320, 240))
    other = pixels.copy()
    other[100:116, 100:116] = 255 - other[100:116, 100:116] // 2
    (one,) = check_duplicates(entries_of(tmp_path, [encoded(pixels), encoded(other)]))
    assert one.kind == "near-duplicate image"
