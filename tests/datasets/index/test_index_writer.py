import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets.index import index_writer
from faster_rcnn.datasets.index.index_format import read_index
from faster_rcnn.datasets.index.index_writer import RawDataset, RawImages, Spool, pack
from faster_rcnn.datasets.index.indexed_records import Part, Records
from faster_rcnn.datasets.loading.images import ImageError
from faster_rcnn.datasets.records import Drops, RawObjects


def raw_images(*names, size=(100, 50)):
    images = RawImages(Path("folder"), lambda row: Path(f"{names[row]}.xml"))
    for name in names:
        images.add(name, f"{name}.jpg", *size)
    return images


def build(images, objects, drops, closing=0.0):
    file = io.BytesIO()
    facts = {"classes": ["x"]}
    pack(file, RawDataset(images, objects, closing=closing, facts=facts), drops)
    index = read_index(file.getvalue(), None)
    assert index.facts["classes"] == ["x"]
    return Records([Part(index, images.folder)])


def test_records_hold_their_own_objects_in_file_order(caplog):
    images = raw_images("a", "empty")
    images.add("c", "c.jpg", 20, 20)
    images = RawImages(
        Path("folder"),
        lambda row: Path(f"{'aec'[row]}.xml"),
        images.ids,
        images.names,
        images.sizes,
    )
    objects = RawObjects(
        image=np.array([2, 0, 2, 0]),
        boxes=np.array(
            [[0, 0, 9, 9], [1, 1, 5, 6], [30, 30, 40, 40], [2, 2, 4, 4]], np.float64
        ),
        classes=np.array([1, 2, 3, 4]),
        difficult=np.array([False, True, False, False]),
        crowd=np.array([True, False, False, False]),
        areas=np.array([50.0, np.nan, 1.0, 1e300]),
        ids=np.array([11, 12, 13, 14]),
    )
    drops = Drops()
    a, empty, c = build(images, [objects], drops)
    assert a.boxes.tolist() == [[1, 1, 5, 6], [2, 2, 4, 4]]
    assert a.classes.tolist() == [2, 4] and a.difficult.tolist() == [True, False]
    assert a.areas.tolist() == [20, 4] and a.object_ids.tolist() == [12, 14]
    assert (a.image_id, a.width, a.height) == ("a", 100, 50)
    assert a.path == Path("folder/a.jpg")
    assert empty.boxes.shape == (0, 4) and empty.classes.shape == (0,)
    assert c.boxes.tolist() == [[0, 0, 9, 9]] and c.crowd.tolist() == [True]
    assert c.areas.tolist() == [50] and c.object_ids.tolist() == [11]
    for record in (a, empty, c):
        assert record.boxes.dtype == record.areas.dtype == np.float32
        assert record.classes.dtype == record.object_ids.dtype == np.int64
        assert record.difficult.dtype == record.crowd.dtype == np.bool_
    assert drops.log("set") == {"box outside the image": 1}
    assert "corners (30, 30) and (40, 40) in the 20 x 20 image c of c.xml" in (
        caplog.text
    )


def random_objects(rng, count, ids=None):
    return RawObjects(
        image=rng.integers(0, 5, count),
        boxes=np.tile(np.array([0.0, 0.0, 9.0, 9.0]), (count, 1)),
        classes=rng.integers(1, 9, count),
        difficult=rng.random(count) < 0.5,
        crowd=rng.random(count) < 0.5,
        ids=ids,
    )


@pytest.mark.parametrize("rows", [7, 1 << 17])
def test_many_objects_keep_their_order(monkeypatch, rows):
    monkeypatch.setattr(index_writer, "ROWS", rows)
    rng = np.random.default_rng(0)
    pieces = [random_objects(rng, 200, np.arange(200) + start) for start in (0, 200)]
    records = build(raw_images(*"abcde"), pieces, Drops())
    image = np.concatenate([piece.image for piece in pieces])
    for number, record in enumerate(records):
        own = np.flatnonzero(image == number)
        assert record.object_ids.tolist() == own.tolist()
        for name in ("classes", "difficult", "crowd"):
            wanted = np.concatenate([getattr(piece, name) for piece in pieces])[own]
            assert getattr(record, name).tolist() == wanted.tolist()


def test_ids_and_areas_default_to_the_row_and_the_box():
    objects = RawObjects(
        image=np.array([0, 0, 1, 0]),
        boxes=np.array(
            [[0, 0, 2, 3], [5, 5, 5, 9], [0, 0, 1, 1], [0, 0, 4, 4]], np.float64
        ),
        classes=np.ones(4, np.int64),
        difficult=np.zeros(4, np.bool_),
        crowd=np.zeros(4, np.bool_),
    )
    a, b = build(raw_images("a", "b"), [objects], Drops())
    assert a.object_ids.tolist() == [0, 1] and a.areas.tolist() == [6, 16]
    assert b.object_ids.tolist() == [0] and b.areas.tolist() == [1]


def test_no_objects_and_no_images():
    a, b = build(raw_images("a", "b"), [], Drops())
    assert len(a.boxes) == len(b.object_ids) == 0
    assert len(build(raw_images(), [], Drops())) == 0


def test_faults_of_all_pieces_are_listed_in_the_order_of_the_checks():
    def piece(box):
        flags = np.zeros(1, np.bool_)
        one = np.ones(1, np.int64)
        return RawObjects(one - 1, np.array([box], np.float64), one, flags, flags)

    drops = Drops()
    drops.add("repeated line in a list", "x")
    boxes = [(-9, 0, 5, 5), (5, 5, 5, 9), (9, 9, 5, 5), (7, 7, 7, 9)]
    build(raw_images("a"), map(piece, boxes), drops)
    assert list(drops.log("set").items()) == [
        ("repeated line in a list", 1),
        ("inverted box", 1),
        ("zero-area box", 2),
        ("clipped box", 1),
    ]


def test_unknown_sizes_are_measured(tmp_path):
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((3, 4, 3), np.uint8))
    images = RawImages(tmp_path, lambda _: tmp_path)
    images.add("a", "a.png", 7, 8)
    images.add("b", "b.png", 0, 8)
    images.add("b2", "b.png", 7, 2**31)
    images.measure()
    assert images.sizes == [(7, 8), (4, 3), (4, 3)] and images.measured == [1, 2]
    images.add("c", "c.png", 5, -1)
    with pytest.raises(ImageError, match=r"c\.png"):
        images.measure()


@pytest.mark.parametrize("limit", [8, 1 << 20])
def test_spool_returns_its_content(monkeypatch, tmp_path, limit):
    monkeypatch.setattr(index_writer, "_IN_MEMORY", limit)
    spool = Spool(np.zeros((0, 4), np.float32), tmp_path)
    rows = np.arange(40.0).reshape(10, 4)
    for part in (rows[:3], rows[3:3], rows[3:]):
        spool.append(part)
    assert spool.shape == (10, 4)
    np.testing.assert_array_equal(spool.read(), rows)
    pieces = list(spool.pieces(4))
    assert [len(piece) for piece in pieces] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(pieces), rows)
