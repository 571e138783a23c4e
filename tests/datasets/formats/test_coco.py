import copy
import json

import cv2
import numpy as np
import pytest
from dataset_folders import Refusing
from faster_rcnn.datasets.formats import coco_tables
from faster_rcnn.datasets.formats.coco import read_coco
from faster_rcnn.datasets.index import index_files
from faster_rcnn.datasets.loading.images import ImageError
from faster_rcnn.evaluation.coco_objects import coco_objects


def annotation(number, image, category, box, **others):
    keys = {"id": number, "image_id": image, "category_id": category, "bbox": box}
    return keys | others


GOOD = {
    "images": [
        {"id": 7, "file_name": "seven.jpg", "width": 40, "height": 30},
        {"id": 3, "file_name": "sub/three.png", "width": 40, "height": 30},
        {"id": 9, "file_name": "nine.jpg", "width": 40, "height": 30},
    ],
    "categories": [
        {"id": 90, "name": "toothbrush"},
        {"id": 1, "name": "person"},
        {"id": 18, "name": "dog"},
    ],
    "annotations": [
        annotation(5, 3, 18, [1.5, 2, 10, 8.5], area=50.5, iscrowd=0),
        annotation(6, 7, 90, [0, 0, 40, 30], area=9, iscrowd=1),
        annotation(8, 3, 1, [30, 20, 5, 5]),
    ],
}


class Folder(Refusing):
    """Writes a small data set in COCO layout, by default a good one."""

    def __init__(self, root):
        self.file = root / "annotations" / "instances_own.json"
        self.images = root / "own"
        self.content = copy.deepcopy(GOOD)
        self.file.parent.mkdir()
        (self.images / "sub").mkdir(parents=True)
        for name in ("seven.jpg", "sub/three.png", "nine.jpg"):
            cv2.imwrite(str(self.images / name), np.zeros((30, 40, 3), np.uint8))

    def read(self):
        self.file.write_text(json.dumps(self.content))
        return read_coco(self.file, self.images, name="own_train")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_good_file(folder):
    found = folder.read()
    assert found.name == "own_train" and found.layout == "coco"
    assert found.classes == ("__background__", "person", "dog", "toothbrush")
    assert found.category_ids == (0, 1, 18, 90)
    assert found.annotation_file == folder.file and found.drops == {}
    seven, three, nine = found.records
    assert [r.image_id for r in found.records] == ["7", "3", "9"]
    assert three.path == folder.images / "sub" / "three.png"
    assert (three.width, three.height) == (40, 30)
    assert three.boxes.tolist() == [[1.5, 2, 11.5, 10.5], [30, 20, 35, 25]]
    assert three.classes.tolist() == [2, 1]
    assert three.areas.tolist() == [50.5, 25]
    assert three.object_ids.tolist() == [5, 8]
    assert not three.crowd.any() and not three.difficult.any()
    assert seven.classes.tolist() == [3] and seven.crowd.tolist() == [True]
    assert nine.boxes.shape == (0, 4)


def test_faulty_boxes_and_strays_are_counted(folder):
    boxes = [[5, 5, 0, 9], [5, 5, -2, 9], [float("nan"), 1, 2, 3], [50, 5, 9, 9]]
    boxes += [[-5, 5, 20, 9], [30, 5, 10.5, 9]]
    folder.content["annotations"] = [
        annotation(i, 7, 1, box) for i, box in enumerate(boxes, start=1)
    ]
    folder.content["annotations"] += [annotation(99, 1234, 1, [1, 1, 1, 1])]
    found = folder.read()
    assert found.records[0].boxes.tolist() == [[0, 5, 15, 14], [30, 5, 40, 14]]
    assert found.records[0].object_ids.tolist() == [5, 6]
    assert found.drops == {
        "annotation of an image that is not listed": 1,
        "zero-area box": 1,
        "inverted box": 1,
        "box with a NaN or infinite coordinate": 1,
        "box outside the image": 1,
        "clipped box": 1,
    }


def test_category_zero_is_no_background(folder):
    folder.content["categories"][1]["id"] = 0
    folder.content["annotations"][2]["category_id"] = 0
    found = folder.read()
    assert found.classes[1] == "person" and found.category_ids == (0, 0, 18, 90)
    assert found.records[1].classes.tolist() == [2, 1]


def test_no_annotations(folder):
    folder.content["annotations"] = []
    assert all(len(r.boxes) == 0 for r in folder.read().records)


@pytest.mark.parametrize("size", [{}, {"width": 0, "height": 0}, {"width": "40"}])
def test_size_falls_back_to_the_image(folder, size):
    folder.content["images"][0] = {"id": 7, "file_name": "seven.jpg", **size}
    record = folder.read().records[0]
    assert (record.width, record.height) == (40, 30)
    (folder.images / "seven.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"seven\.jpg"):
        folder.read()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [\n1, 2,,]}', r"instances_own\.json.*line 2 column 6"),
        ("", r"instances_own\.json.*line 1 column 1"),
        ("[]", r"instances_own\.json.*'images'"),
        ('{"images": [], "annotations": []}', "'categories'"),
        ('{"images": {}, "annotations": [], "categories": []}', "'images'"),
        ('{"images": [1], "annotations": [], "categories": []}', "'images'"),
        ("[" * 100_000, r"instances_own\.json"),
    ],
)
def test_malformed_file(folder, text, message):
    folder.file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_coco(folder.file, folder.images, name="x")


def test_missing_or_binary_file(folder):
    with pytest.raises(ValueError, match=r"instances_own\.json.*cannot read"):
        read_coco(folder.file, folder.images, name="x")
    folder.file.write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match=r"instances_own\.json"):
        read_coco(folder.file, folder.images, name="x")


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("images", "id"),
        ("images", "file_name"),
        ("categories", "id"),
        ("categories", "name"),
        ("annotations", "image_id"),
        ("annotations", "category_id"),
        ("annotations", "bbox"),
    ],
)
def test_missing_key(folder, table, key):
    del folder.content[table][1][key]
    folder.refuses(rf"{table}\[1\].*expected the key '{key}'")


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("images", {"id": "seven"}, r"images\[1\].*whole number under 'id'"),
        ("images", {"id": 2**63}, r"images\[1\].*whole number under 'id'"),
        ("images", {"id": 7}, r"images\[1\].*found 7 a second time"),
        ("categories", {"id": 90}, r"categories\[1\].*id 90"),
        ("categories", {"name": "toothbrush"}, r"categories\[1\].*'toothbrush'"),
        ("categories", {"id": True}, r"categories\[1\].*whole number under 'id'"),
        ("annotations", {"category_id": 2}, r"\(id 6\): unknown category id 2.*1, 18"),
        ("annotations", {"image_id": None}, r"annotations\[1\].*'image_id'"),
        ("annotations", {"bbox": [1, 2, 3]}, r"\(id 6\).*four numbers.*\[1, 2, 3\]"),
        ("annotations", {"bbox": None}, r"\(id 6\).*four numbers.*None"),
        ("annotations", {"bbox": [1, 2, 3, 10**400]}, r"\(id 6\).*four numbers"),
        ("annotations", {"bbox": [1, 2, 3, "x"]}, r"\(id 6\).*four numbers"),
    ],
)
def test_wrong_value(folder, table, change, message):
    folder.content[table][1].update(change)
    folder.refuses(message)


def test_ids_as_text_and_flags_as_text(folder):
    expected = folder.read()
    for table, keys in {
        "images": ("id",),
        "categories": ("id",),
        "annotations": ("id", "image_id", "category_id"),
    }.items():
        for entry in folder.content[table]:
            entry.update({key: str(entry[key]) for key in keys})
    for entry in folder.content["annotations"]:
        entry["iscrowd"] = str(entry.get("iscrowd", "0"))
        entry["bbox"] = [str(number) for number in entry["bbox"]]
    found = folder.read()
    assert found.classes == expected.classes and found.drops == {}
    for ours, theirs in zip(found.records, expected.records, strict=True):
        assert ours.image_id == theirs.image_id
        assert ours.boxes.tolist() == theirs.boxes.tolist()
        assert ours.crowd.tolist() == theirs.crowd.tolist()
        assert ours.object_ids.tolist() == theirs.object_ids.tolist()
    theirs = coco_objects(expected)
    for column, other in zip(coco_objects(found), theirs, strict=True):
        assert (column is None) == (other is None)
        assert column is None or column.tolist() == other.tolist()


@pytest.mark.parametrize("number", [None, "x7"])
def test_annotations_need_no_id_of_their_own(folder, number):
    for entry in folder.content["annotations"]:
        entry["id"] = number
    found = folder.read()
    assert found.records[1].object_ids.tolist() == [0, 2]
    assert found.drops == {"annotation without an id, numbered by its place": 3}
    assert len(coco_objects(found).boxes) == 3


def test_byte_order_mark(folder):
    expected = folder.read().classes
    folder.file.write_bytes(b"\xef\xbb\xbf" + folder.file.read_bytes())
    found = read_coco(folder.file, folder.images, name="x")
    assert found.classes == expected and len(coco_objects(found).boxes) == 3


def test_background_as_category_zero(folder):
    want = folder.read()
    folder.content["categories"].insert(0, {"id": 0, "name": "__background__"})
    folder.content["annotations"].append(annotation(11, 3, 0, [1, 1, 20, 20]))
    found = folder.read()
    assert (found.classes, found.category_ids) == (want.classes, want.category_ids)
    assert found.drops == {"annotation of category 0, __background__": 1}
    for record, same in zip(found.records, want.records, strict=True):
        assert np.array_equal(record.boxes, same.boxes)
        assert np.array_equal(record.classes, same.classes)
    # Under any other id, or name, it is none.
    folder.content["categories"][0]["id"] = 2
    folder.content["annotations"].pop()
    assert "__background__" in folder.read().classes[1:]
    folder.content["categories"][0] = {"id": 0, "name": "background"}
    assert folder.read().classes[1] == "background"


@pytest.mark.parametrize("name", ["dog", "my-project"])
def test_placeholder_category_is_left_out(folder, name):
    """Roboflow writes one; it may have the name of the only true class."""
    for entry in folder.content["categories"]:
        entry["supercategory"] = name
    root = {"id": 0, "name": name, "supercategory": "none"}
    folder.content["categories"].insert(0, root)
    found = folder.read()
    assert found.classes[1:] == ("person", "dog", "toothbrush")
    assert found.drops == {"placeholder category without objects": 1}
    # One that has objects is a class.
    folder.content["annotations"].append(annotation(20, 9, 0, [1, 1, 5, 5]))
    if name == "dog":
        folder.refuses("name 'dog' a second time")
    else:
        assert folder.read().classes[1] == name


def test_category_without_objects_is_a_class(folder):
    for entry in folder.content["categories"]:
        entry["supercategory"] = "none"
    folder.content["annotations"] = []
    assert len(folder.read().classes) == 4


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "polygons",
    [
        [[1, 2.5, 3e2], [-4.0]],
        [],
        {"counts": [1, 2], "size": [30, 40]},
        {"counts": "a[1]", "size": [30, 40]},
        [[1, float("nan")]],
        None,
        '"segmentation": [[1, 2]], "bbox": [1, 2]',
    ],
)
def test_polygons_do_not_matter(folder, polygons, indent):
    dog, toothbrush, _ = folder.content["annotations"]
    folder.content["annotations"][0] = {"segmentation": polygons} | dog
    folder.content["annotations"][1] = toothbrush | {"segmentation": polygons}
    folder.content["categories"][0]["name"] = '"segmentation": [1], "'
    folder.file.write_text(json.dumps(folder.content, indent=indent))
    found = read_coco(folder.file, folder.images, name="own_train")
    assert found.classes == (
        "__background__",
        "person",
        "dog",
        '"segmentation": [1], "',
    )
    assert found.records[1].object_ids.tolist() == [5, 8]
    assert found.records[1].boxes.tolist() == [[1.5, 2, 11.5, 10.5], [30, 20, 35, 25]]


@pytest.mark.parametrize("block", [1, 20, 50, 80, 130])
def test_polygons_may_be_cut_by_the_blocks_of_the_file(folder, monkeypatch, block):
    for row in folder.content["annotations"]:
        row["segmentation"] = [[1, 2, 3, 4], [5, 6, 7.5, 8], [9, 10]]
    wanted = folder.read()
    calls = []
    parse = coco_tables._parse
    monkeypatch.setattr(
        coco_tables, "_parse", lambda *a, **o: calls.append(o) or parse(*a, **o)
    )
    monkeypatch.setattr(index_files, "_BLOCK", block)
    monkeypatch.setenv("FRCNN_INDEX", "0")
    found = folder.read()
    assert calls == [{"polygons": False}]
    assert found.records.boxes.tolist() == wanted.records.boxes.tolist()
    assert found.classes == wanted.classes


def test_a_fault_after_polygons_is_located(folder):
    for row in folder.content["annotations"]:
        row["segmentation"] = [[1, 2, 3, 4]]
    text = json.dumps(folder.content, indent=1)
    folder.file.write_text(text + "\nx")
    line = text.count("\n") + 2
    wanted = rf"\(Extra data: line {line} column 1 \(char {len(text) + 1}\)\)"
    with pytest.raises(ValueError, match=wanted):
        read_coco(folder.file, folder.images, name="own_train")


def test_order_of_the_tables_does_not_matter(folder):
    wanted = folder.read()
    folder.content = dict(reversed(folder.content.items())) | {"info": [1], "x": {}}
    found = folder.read()
    assert found.classes == wanted.classes
    assert found.records.boxes.tolist() == wanted.records.boxes.tolist()


@pytest.mark.parametrize("area", [None, "big", 10**400, float("nan")])
def test_useless_area_gives_way_to_the_box(folder, area):
    folder.content["annotations"][0]["area"] = area
    assert folder.read().records[1].areas.tolist() == [85, 25]


@pytest.mark.parametrize("table", ["images", "categories"])
def test_empty_tables(folder, table):
    folder.content[table] = []
    folder.refuses(f"expected {table}, found none")


def test_images_under_other_names(folder):
    paths = folder.read().records.paths
    for image in folder.content["images"]:
        image["file_name"] = "own\\" + image["file_name"].replace("/", "\\")
    found = folder.read()
    assert found.records.paths == paths
    assert found.drops == {"image that is stored elsewhere than its file name says": 3}
    assert folder.read().records.paths == paths  # by the index


def test_images_missing_on_disk(folder):
    (folder.images / "sub" / "three.png").unlink()
    (folder.images / "nine.jpg").unlink()
    folder.refuses(r"2 of 3 images are not in .*own: sub/three\.png, nine\.jpg;")


def test_real_annotations(shared, tmp_path):
    file = shared / "data" / "coco_val2014_100" / "instances_val2014_100.json"
    content = json.loads(file.read_text())
    for image in content["images"]:  # the pictures themselves are not there
        (tmp_path / image["file_name"]).touch()
    found = read_coco(file, tmp_path, name="coco")
    assert len(found.records) == 100 and len(found.classes) == 81
    assert found.classes[1] == "person" and found.classes[80] == "toothbrush"
    assert found.category_ids[80] == 90
    assert sum(len(r.boxes) for r in found.records) == 839
    assert sum(int(r.crowd.sum()) for r in found.records) == 9
    assert found.drops == {}
    by_id = {a["id"]: a for a in content["annotations"]}
    for record in found.records:
        for row, number in enumerate(record.object_ids.tolist()):
            given = by_id[number]
            x, y, width, height = given["bbox"]
            edges = [x, y, x + width, y + height]
            np.testing.assert_allclose(record.boxes[row], edges, atol=1)
            category = found.category_ids[record.classes[row]]
            assert category == given["category_id"]
            assert record.image_id == str(given["image_id"])
            assert record.areas[row] == np.float32(given["area"])
