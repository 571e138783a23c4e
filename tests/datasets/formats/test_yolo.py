import json
import re

import numpy as np
import pytest
from faster_rcnn.datasets.formats import yolo
from faster_rcnn.datasets.formats.coco import read_coco
from faster_rcnn.datasets.formats.voc import read_voc
from faster_rcnn.datasets.formats.yolo import image_ids, read_yolo
from faster_rcnn.datasets.formats.yolo_labels import parse_row
from faster_rcnn.datasets.index.index_files import VARIABLE
from faster_rcnn.datasets.loading.images import ImageError
from PIL import Image
from yolo_folders import YoloFolder, ids, write_image


@pytest.fixture
def folder(tmp_path):
    return YoloFolder(tmp_path / "own")


def test_shares_become_pixel_edges(folder):
    found = folder.read()
    assert found.name == "own_train" and found.layout == "voc"
    assert found.classes == ("__background__", "cat", "dog")
    assert found.category_ids == (0, 1, 2) and found.annotation_file is None
    (record,) = found.records
    assert record.image_id == "a" and (record.width, record.height) == (40, 20)
    assert record.path == folder.root / "images" / "train" / "a.jpg"
    # 40 x (0.5 -+ 0.125), 20 x (0.5 -+ 0.25)
    assert record.boxes.tolist() == [[15, 5, 25, 15]]
    assert record.classes.tolist() == [1] and record.areas.tolist() == [100]
    assert record.object_ids.tolist() == [0]
    assert not record.difficult.any() and not record.crowd.any()
    assert found.drops == {}
    (record,) = folder.read("val").records
    assert record.image_id == "b" and record.classes.tolist() == [2]


def test_rows():
    box = (0.25, 0.375, 0.75, 0.625)
    assert parse_row(3, " 1  0.5 0.5 0.5 0.25\n") == (3, 1, box, (), ())
    # Some tools write every number as a float.
    assert parse_row(1, "2.0 5e-1 0.5 1 1").class_id == 2
    # A polygon, corners in any order, gives the box around it.
    triangle = "0 0.25 0.75 0.5 0.125 0.75 0.5"
    assert parse_row(1, triangle).box == (0.25, 0.125, 0.75, 0.75)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("cat 0.5 0.5 0.1 0.1", "expected numbers, found 'cat 0.5 0.5 0.1 0.1'"),
        ("0", "expected a class id and x, y, width, height, .* found 1 numbers;"),
        ("0 0.5 0.5 0.1", ".* found 4 numbers;"),
        ("0 0.5 0.5 0.1 0.1 0.9", ".* found 6 numbers .detections have a score as"),
        ("0 0.5 0.5 0.1 0.1 0.9 0.2 0.3", ".* found 8 numbers;"),
        ("0.5 0.5 0.5 0.1 0.1", "expected a class id of 0 or more, found 0.5;"),
        ("-1 0.5 0.5 0.1 0.1", "expected a class id of 0 or more, found -1;"),
        ("nan 0.5 0.5 0.1 0.1", "expected a class id of 0 or more, found nan;"),
        ("0 320 240 64 48", "expected shares .*, 0 to 1, found 320, perhaps pixels;"),
        ("99 0.5 0.5 0.1 0.1", "unknown class id 99, expected 0 to 1; correct it, or"),
    ],
)
def test_malformed_rows(folder, row, problem):
    path = folder.labels("train/a", f"0 0.5 0.5 0.1 0.1\n\n{row}\n")
    folder.refuses(re.escape(f"{path}: line 3: ") + problem)


def test_labels_that_are_no_text(folder):
    path = folder.labels("train/a", "")
    path.write_bytes(b"\xff\xfe0\x00")
    folder.refuses(r"labels/train/a\.txt: expected labels as pl")
    path.write_bytes(b"\xef\xbb\xbf0 0.5 0.5 0.25 0.5\r\n")  # as Notepad saves it
    assert folder.read().records[0].boxes.tolist() == [[15, 5, 25, 15]]


def test_faulty_boxes_are_counted(folder, caplog):
    rows = ["0 0.5 0.5 0 0.5", "0 0.5 0.5 -0.1 0.5", "0 nan 0.5 0.1 0.1"]
    rows += ["0 1.5 0.5 0.1 0.1", "0 1 0.5 0.5 0.5", "1 0.5 0.5 1.02 1", "0 inf 0 0 0"]
    folder.labels("train/a", "\n".join(rows))
    found = folder.read()
    assert found.records[0].boxes.tolist() == [[30, 5, 40, 15], [0, 0, 40, 20]]
    assert found.records[0].classes.tolist() == [1, 2]
    assert found.drops == {
        "zero-area box": 1,
        "inverted box": 1,
        "box with a NaN or infinite coordinate": 2,
        "box outside the image": 1,
        "clipped box": 1,  # the box that is half a pixel too wide is not
    }
    assert "1 x zero-area box, first: corners (20, 5) and (20, 15) in the 40 x 20" in (
        caplog.text
    )
    assert "labels/train/a.txt" in caplog.text


def test_images_without_objects_are_kept(folder):
    folder.image("train/empty", " \n").image("train/none")
    found = folder.read()
    assert ids(found) == ["a", "empty", "none"]
    assert [len(record.boxes) for record in found.records] == [1, 0, 0]
    kind = "image without a label file, taken to have no objects"
    assert found.drops == {kind: 1}


def test_misplaced_labels(folder):
    folder.labels("train/A", "0 0.5 0.5 0.1 0.1")
    folder.labels("train/classes", "cat\ndog\n")  # labelImg writes it there
    assert folder.read().drops == {"label file without an image": 1}
    (folder.root / "labels" / "train" / "a.txt").unlink()
    folder.refuses("found none for its 1 images, the first woul")


def test_no_labels_folder(folder):
    (folder.root / "labels").rename(folder.root / "label")
    folder.refuses(r"would be .*own/labels/train/a\.txt; put the")


def test_pictures_that_cannot_be_read(folder):
    (folder.root / "images" / "train" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"a\.jpg: expected an image"):
        folder.read()


def test_pictures_that_exif_turns(folder):
    exif = Image.Exif()
    exif[274] = 6
    path = folder.root / "images" / "train" / "t.jpg"
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    folder.labels("train/t", "0 0.5 0.5 0.5 0.5")
    folder.refuses(r"found 1 of 2 that EXIF turns: .*t\.jpg; ")
    exif[274] = 1
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    assert len(folder.read().records) == 2


@pytest.mark.parametrize("place", ["beside", "nowhere"])
def test_index_is_opened_and_never_stale(folder, monkeypatch, tmp_path, place):
    monkeypatch.setenv(VARIABLE, "0" if place == "nowhere" else str(tmp_path / "index"))
    parsed = []
    parse = yolo.parse_labels
    monkeypatch.setattr(
        yolo, "parse_labels", lambda *words: parsed.append(words) or parse(*words)
    )
    first, again = folder.read(), folder.read()
    assert len(parsed) == (2 if place == "nowhere" else 1)
    assert first.records[0].boxes.tolist() == again.records[0].boxes.tolist()

    folder.labels("train/a", "1 0.5 0.5 1 1")
    assert folder.read().records[0].boxes.tolist() == [[0, 0, 40, 20]]
    folder.settings("names: [dog, cat]\ntrain: images/train\n")
    assert folder.read().classes[1:] == ("dog", "cat")
    assert folder.read().records[0].classes.tolist() == [2]
    folder.settings("names: {1: cat}\ntrain: images/train\n")
    assert folder.read().records[0].classes.tolist() == [1]
    folder.settings("names: [dog, cat]\ntrain: images/train\n")
    write_image(folder.root / "images" / "train" / "a.jpg", (80, 20))
    assert folder.read().records[0].boxes.tolist() == [[0, 0, 80, 20]]
    folder.image("train/c", "0 0.5 0.5 1 1")
    assert ids(folder.read()) == ["a", "c"]
    (folder.root / "labels" / "train" / "c.txt").unlink()
    assert len(folder.read().records[1].boxes) == 0
    folder.labels("train/d", "0 0.5 0.5 1 1")
    assert folder.read().drops["label file without an image"] == 1


def test_three_layouts_give_equal_records(tmp_path):
    """The same boxes, 1-based and inclusive in VOC, written in each layout."""
    names = ("bird", "cat")
    random = np.random.default_rng(0)
    images = {}
    for stem in "abcde":
        size = tuple(random.integers(30, 90, 2).tolist())
        first = random.integers(1, 20, (3, 2))
        last = np.minimum(first + random.integers(2, 40, (3, 2)), size)
        boxes = np.concatenate([first, last], axis=1).tolist()
        images[stem] = (
            size,
            list(zip(random.integers(0, 2, 3).tolist(), boxes, strict=True)),
        )
    images["e"] = images["e"][0], []

    voc, coco, folder = (tmp_path / layout for layout in ("voc", "coco", "yolo"))
    for part in ("Annotations", "ImageSets/Main"):
        (voc / part).mkdir(parents=True)
    (voc / "ImageSets" / "Main" / "train.txt").write_text("\n".join(images))
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "data.yaml").write_text("names: [bird, cat]\ntrain: images/train\n")
    tables = {"images": [], "annotations": []}
    tables["categories"] = [{"id": 10, "name": "bird"}, {"id": 20, "name": "cat"}]
    for number, (stem, (size, objects)) in enumerate(images.items()):
        width, height = size
        places = (voc / "JPEGImages", coco / "train", folder / "images" / "train")
        for place in places:
            write_image(place / f"{stem}.jpg", size)
        tables["images"].append({"id": number, "file_name": f"{stem}.jpg"})
        things, rows = "", ""
        for c, box in objects:
            keys = ("xmin", "ymin", "xmax", "ymax")
            corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(keys, box, strict=True))
            things += (
                f"<object><name>{names[c]}</name><bndbox>{corners}</bndbox></object>"
            )
            x1, y1, x2, y2 = box[0] - 1, box[1] - 1, box[2], box[3]
            annotation = {"id": len(tables["annotations"]) + 1, "image_id": number}
            annotation |= {"category_id": 10 * (c + 1)}
            annotation |= {"bbox": [x1, y1, x2 - x1, y2 - y1]}
            tables["annotations"].append(annotation)
            shares = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height]
            shares += [(x2 - x1) / width, (y2 - y1) / height]
            rows += f"{c} {' '.join(map(repr, shares))}\n"
        xml = f"<annotation>{things}</annotation>"
        (voc / "Annotations" / f"{stem}.xml").write_text(xml)
        (folder / "labels" / "train" / f"{stem}.txt").write_text(rows)
    (coco / "train.json").write_text(json.dumps(tables))

    sets = [
        read_voc(voc, "train", name="x"),
        read_coco(coco / "train.json", coco / "train", name="x"),
        read_yolo(folder, "train", name="x"),
    ]
    assert len({found.classes for found in sets}) == 1
    for one, *others in zip(*(found.records for found in sets), strict=True):
        for other in others:
            assert one.path.name == other.path.name
            assert (one.width, one.height) == (other.width, other.height)
            for key in ("boxes", "classes", "difficult", "crowd", "areas"):
                assert getattr(one, key).tolist() == getattr(other, key).tolist()
    assert sum(len(record.boxes) for record in sets[0].records) == 12
    assert ids(sets[0]) == ids(sets[2])


def test_image_ids_lead_into_no_other_folder():
    assert image_ids(["../b/x.jpg", "b/x.jpg", "/c/x.jpg"]) == ["_/b/x", "b/x", "c/x"]
