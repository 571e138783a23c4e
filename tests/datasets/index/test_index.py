import multiprocessing
import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from faster_rcnn.datasets.index import index_format
from faster_rcnn.datasets.index.index_format import (
    Column,
    Index,
    open_index,
    string_columns,
    write_index,
)
from faster_rcnn.datasets.index.indexed_records import Part, Records, as_records
from tiny_runs import make_record

NAMES = ["a", "", "déjà vu", "\udcff\ud800", "sub/b.jpg"]


def by_hand(count=3, start=0):
    """Records of 0, 1, 2, ... objects."""
    return [
        make_record(
            Path(f"folder/{start + i}.png"),
            100 + i,
            50,
            [(j, j, j + 2 + i, j + 3) for j in range(i)],
            range(1, i + 1),
            difficult=[j == 1 for j in range(i)],
            crowd=[j == 0 for j in range(i)],
        )
        for i in range(count)
    ]


def save(path, records):
    (part,) = as_records(records).parts
    columns = part.index.columns
    with path.open("wb") as file:
        pieces = {k: (c.dtype, c.shape, [c[:2], c[2:]]) for k, c in columns.items()}
        write_index(file, {}, {k: Column(*column) for k, column in pieces.items()})
    return Records([Part(open_index(path), Path())])


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        for field in fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            assert type(a) is type(b)
            if isinstance(a, np.ndarray):
                assert a.dtype == b.dtype and a.shape == b.shape
                assert a.tolist() == b.tolist()
            else:
                assert a == b


@pytest.fixture(params=["memory", "file"])
def keep(request, tmp_path):
    """Keep records in memory or in a file."""
    if request.param == "memory":
        return as_records
    return lambda records: save(tmp_path / "set.index", records)


def test_a_sequence_of_records(keep):
    wanted = by_hand(4)
    found = keep(wanted)
    assert_same(found, wanted)
    assert_same([found[i] for i in (-1, 0, 3)], [wanted[i] for i in (-1, 0, 3)])
    assert_same([found[np.int64(2)]], [wanted[2]])
    assert_same(found[1:], wanted[1:])
    assert_same(found[::-2], wanted[::-2])
    for place in (4, -5):
        with pytest.raises(IndexError):
            found[place]
    assert as_records(found) is found


def test_columns(keep):
    wanted = by_hand(4)
    found = keep(wanted)
    assert found.image_ids == ["0", "1", "2", "3"]
    assert found.paths == [str(record.path) for record in wanted]
    assert found.sizes.tolist() == [[100, 50], [101, 50], [102, 50], [103, 50]]
    assert found.images.tolist() == [1, 2, 2, 3, 3, 3]
    for name in ("boxes", "classes", "difficult", "crowd", "areas"):
        joined = np.concatenate([getattr(record, name) for record in wanted])
        assert getattr(found, name).tolist() == joined.tolist()


def test_no_records(keep):
    found = keep([])
    assert len(found) == 0 and not found and list(found) == []
    assert found.boxes.shape == (0, 4) and found.images.shape == (0,)
    assert found.image_ids == []
    assert len(Records([])) == 0 and Records([]).sizes.shape == (0, 2)


def test_what_is_done_to_a_record_stays_with_it(keep):
    found = keep(by_hand())
    found[2].boxes[:] = -1
    found[2].crowd[:] = True
    assert_same([found[2]], by_hand()[2:])


def test_columns_of_a_file_are_read_only(tmp_path):
    found = save(tmp_path / "set.index", by_hand())
    with pytest.raises(ValueError, match="read-only"):
        found.boxes[0] = 0


def test_joined(keep):
    one, two = by_hand(3), by_hand(2, start=3)
    (a,), (b,) = keep(one).parts, as_records(two).parts
    found = Records([a, replace(b, prefix="set/")])
    wanted = [*one, *(replace(r, image_id=f"set/{r.image_id}") for r in two)]
    assert_same(found, wanted)
    assert_same([found[i] for i in range(-5, 5)], [wanted[i] for i in range(-5, 5)])
    assert found.image_ids == ["0", "1", "2", "set/3", "set/4"]
    assert found.images.tolist() == [1, 2, 2, 4]
    assert found.classes.tolist() == [1, 1, 2, 1] and len(found.sizes) == 5


def test_pickled_in_memory():
    assert_same(pickle.loads(pickle.dumps(as_records(by_hand()))), by_hand())


def test_pickled_a_file_is_its_path(tmp_path):
    boxes = [(0, 0, 9, 9)] * 5000
    record = make_record(tmp_path / "a.png", 10, 10, boxes)
    found = save(tmp_path / "set.index", [record])
    data = pickle.dumps(found)
    assert len(data) < 1000
    assert_same(pickle.loads(data), [record])
    (tmp_path / "set.index").unlink()
    assert_same(found, [record])  # still mapped
    with pytest.raises(ValueError, match=r"set\.index.*start again"):
        pickle.loads(data)


def test_spawned_workers_open_the_file(tmp_path):
    found = save(tmp_path / "set.index", by_hand(4))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert_same(pool.apply(list, (found,)), by_hand(4))
        pool.close()
        pool.join()  # other tests look at the processes that are there


@pytest.mark.parametrize("cut", [0, 4, 12, 40, -1])
def test_a_file_that_is_not_whole(tmp_path, cut):
    path = tmp_path / "set.index"
    save(path, by_hand(4))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"set\.index.*cannot open"):
        open_index(path)


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "set.index"
    save(path, by_hand(2))
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        with pytest.raises((ValueError, KeyError, TypeError)):
            index_format.read_index(bytes(damaged), path)
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="cannot open it"):
        open_index(path)


def test_a_file_of_another_format(tmp_path, monkeypatch):
    path = tmp_path / "set.index"
    save(path, by_hand())
    monkeypatch.setattr(index_format, "MAGIC", b"FRCNNIX0")
    with pytest.raises(ValueError, match="another format"):
        open_index(path)


def test_strings():
    columns = string_columns("id", NAMES)
    found = Index(None, {}, columns)
    assert found.strings("id") == NAMES
    assert [found.string("id", row) for row in range(5)] == NAMES
    assert Index(None, {}, string_columns("id", [])).strings("id") == []
