import contextlib
import io
import json

import cv2
import numpy as np
import pytest
from dataset_folders import Refusing
from faster_rcnn.datasets.formats.coco import read_coco
from faster_rcnn.datasets.formats.written_keypoints import flip_pairs
from faster_rcnn.datasets.records import KeypointNames, RunLengths, Wanted
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

ALL = Wanted(masks=True, keypoints=True)
TRIANGLE = [10, 10, 20, 10, 20, 20.5]
SQUARE = [1, 2, 4, 2, 4, 8, 1, 8]
NAMES = ["nose", "left_eye", "right_eye"]
RLE = {"size": [30, 40], "counts": [30, 60, 1110]}  # columns 1 and 2


class Folder(Refusing):
    """A file with one image of 40 x 30 and the given annotations."""

    def __init__(self, root):
        self.root = root
        self.category = {"id": 1, "name": "person", "keypoints": NAMES}
        cv2.imwrite(str(root / "a.png"), np.zeros((30, 40, 3), np.uint8))

    def read(self, *annotations, wanted=ALL):
        rows = [
            {"id": i, "image_id": 7, "category_id": 1, "bbox": [1, 2, 30, 20]} | a
            for i, a in enumerate(annotations, start=1)
        ]
        for row in rows:
            if row["bbox"] is None:
                del row["bbox"]
        image = {"id": 7, "file_name": "a.png", "width": 40, "height": 30}
        content = {"images": [image], "annotations": rows}
        self.file = self.root / "instances_train.json"
        self.file.write_text(json.dumps(content | {"categories": [self.category]}))
        return read_coco(self.file, self.root, name="own", wanted=wanted)

    def record(self, *annotations, **options):
        (record,) = self.read(*annotations, **options).records
        return record


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def points(mask):
    return [part.ravel().tolist() for part in mask]


def test_polygons_and_run_lengths(folder):
    compressed = coco_mask.frPyObjects(RLE, 30, 40)["counts"]
    found = folder.read(
        {"segmentation": [SQUARE, TRIANGLE]},
        {"segmentation": RLE, "iscrowd": 1},
        {"segmentation": RLE | {"counts": compressed.decode()}},
        {"segmentation": []},
        {"segmentation": SQUARE},  # a polygon without its list
    )
    assert found.has_masks
    assert found.drops == {"object without a mask": 1}
    parts, crowd, other, nothing, flat = found.records[0].masks
    assert points(parts) == [SQUARE, TRIANGLE] and points(flat) == [SQUARE]
    assert all(part.dtype == np.float32 and part.flags.writeable for part in parts)
    assert crowd == other == RunLengths(compressed, (30, 40))
    assert nothing == ()
    assert found.records[0].crowd.tolist() == [False, True, False, False, False]


def test_only_what_is_wanted(folder):
    annotation = {"segmentation": [SQUARE], "keypoints": [1, 2, 2] * 3}
    for wanted in (Wanted(), Wanted(masks=True), Wanted(keypoints=True), ALL):
        found = folder.read(annotation, wanted=wanted)
        (record,) = found.records
        assert found.has_masks == (record.masks is not None) == wanted.masks
        given = record.keypoints is not None
        assert (found.keypoints is not None) == given == wanted.keypoints


def test_keypoints(folder):
    folder.category["skeleton"] = [[2, 3], [1, 4], "no"]
    found = folder.read(
        {},
        {"keypoints": [3, 4, 2, 5, 6, 1, 9, 9, 0]},
        {"keypoints": [0] * 9, "num_keypoints": 0},
    )
    assert found.keypoints == KeypointNames(tuple(NAMES), ((1, 2),), ((1, 2),))
    assert found.records[0].keypoints.tolist() == [
        [[0, 0, 0]] * 3,
        [[3.5, 4.5, 2], [5.5, 6.5, 1], [0, 0, 0]],
        [[0, 0, 0]] * 3,
    ]
    assert sum(found.drops.values()) == 2  # the two links
    found = folder.read({}, wanted=ALL)
    assert found.records[0].keypoints.shape == (1, 3, 3)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        ("nose left_eye right_eye", ((1, 2),)),
        ("R-Hip L-Hip", ((1, 0),)),
        ("LeftAnkle RightAnkle", ((0, 1),)),
        ("eyeL eyeR lefty", ((0, 1),)),
        ("l.ear_base r.ear_base l_paw", ((0, 1),)),
        ("front_left_paw front_right_paw", ((0, 1),)),
        ("head tail level revel", ()),
    ],
)
def test_flip_pairs(names, pairs):
    assert flip_pairs(names.split()) == pairs


@pytest.mark.parametrize("wanted", [Wanted(), ALL])
def test_boxes_from_masks(folder, wanted):
    record = folder.record(
        {"bbox": None, "segmentation": [SQUARE, TRIANGLE]},
        {"bbox": [], "segmentation": RLE},
        {"segmentation": [SQUARE]},
        wanted=wanted,
    )
    assert record.boxes.tolist() == [[1, 2, 20, 20.5], [1, 0, 3, 30], [1, 2, 31, 22]]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([[1, 2, 3, 4]], "polygon with fewer than three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "polygon with an odd number of values"),
        ([[1, 2, 3, float("nan"), 5, 6]], "polygon with a NaN or infinite coordinate"),
        ([[1, 2, 3, 1e60, 5, 6]], "polygon with a NaN or infinite coordinate"),
        (RLE | {"counts": [30, 60]}, "run lengths that are not those of"),
        (RLE | {"counts": "~~~"}, "run lengths that are not those of"),
        (RLE | {"counts": [2**63, 2**63]}, "run lengths that are not those of"),
        ({"size": [30, 41], "counts": [1230]}, "mask of another size than its image"),
    ],
)
def test_counted_masks(folder, value, kind, caplog):
    found = folder.read({"segmentation": value}, {"segmentation": [SQUARE]})
    faulty, good = found.records[0].masks
    assert faulty == () and points(good) == [SQUARE]
    first, without = sorted(found.drops, key="object without a mask".__eq__)
    assert first.startswith(kind) and without == "object without a mask"
    assert f"first: annotation 1 in {folder.file}" in caplog.text
    partly = folder.record({"segmentation": [[1, 2, 3, 4], SQUARE]})
    assert points(partly.masks[0]) == [SQUARE]


@pytest.mark.parametrize(
    "value",
    [
        *("text", 5, [5, "a"], [["1", "2"]], [[None] * 6], [[[1, 2], [3, 4]]]),
        *({}, {"counts": [1]}, {"counts": None, "size": [1, 2]}),
        *({"counts": [2], "size": [2]}, {"counts": [2], "size": [-1, -2]}),
        {"counts": [2], "size": [2**40, 2**40]},
    ],
    ids=str,
)
def test_refused_masks(folder, value):
    where = r"instances_train.json: annotations\[0\] \(id 1\): expected .* found"
    folder.refuses(where, {"segmentation": value})


@pytest.mark.parametrize("values", [[1] * 8, [1] * 12, [1] * 6, ["a"] * 9, 5, "abc"])
def test_refused_keypoints(folder, values):
    where = r"annotations\[1\] \(id 2\): expected x, y and visibility of 3 keypoints"
    folder.refuses(where, {"keypoints": [1] * 9}, {"keypoints": values})


def test_keypoints_and_names_differ(folder):
    folder.refuses(r"annotations\[0\] \(id 1\).* 3 .*found 4", {"keypoints": [1] * 12})
    del folder.category["keypoints"]
    folder.refuses("names under 'keypoints', none, found 4", {"keypoints": [1] * 12})


def test_counted_keypoints(folder):
    nan = float("nan")
    found = folder.read({"keypoints": [1, nan, 2, 1, 2, 3, 4, 5, 1]})
    assert found.records[0].keypoints.tolist() == [
        [[0, 0, 0], [1.5, 2.5, 2], [4.5, 5.5, 1]]
    ]
    assert list(found.drops.values()) == [1, 1]


def test_no_mask_left(folder):
    found = folder.read({"segmentation": {"size": [3, 4], "counts": [12]}})
    assert not found.has_masks and found.records[0].masks is None
    assert found.drops == {"mask of another size than its image": 1}


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("kind", ["instances", "person_keypoints"])
def test_real_photos(split, kind, shared):
    root = shared / "data" / "coco2017_mini"
    file = root / "annotations" / f"{kind}_{split}2017.json"
    found = read_coco(file, root / f"{split}2017", name="mini", wanted=ALL)
    with contextlib.redirect_stdout(io.StringIO()):
        oracle = COCO(str(file))
    objects = 0
    for record in found.records:
        size = record.height, record.width
        for number, mask in zip(record.object_ids.tolist(), record.masks, strict=True):
            if isinstance(mask, RunLengths):
                drawn = {"counts": mask.counts, "size": size}
            else:  # rounded, because pycocotools cuts off fifths of a pixel
                parts = [np.round(p.ravel().astype(float), 3).tolist() for p in mask]
                drawn = coco_mask.merge(coco_mask.frPyObjects(parts, *size))
            expected = oracle.annToRLE(oracle.anns[number])
            assert coco_mask.area(drawn) == coco_mask.area(expected)
            objects += 1
    assert objects == len(oracle.anns)
